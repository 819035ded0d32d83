//! What a body costs by its shape: `cargo bench --bench json`.
//!
//! Reading claims and making the call's id of them, for bodies of one size. All shapes take turns,
//! and of each the least time on a core counts. Nothing is asserted; `tests/it/shapes.rs` does that.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

#[path = "../tests/it/support/shapes.rs"]
mod shapes;

use std::time::Duration;

use self::shapes::{SHAPES, cost};

const TURNS: usize = 5;

/// How much is read in a turn.
const BYTES: usize = 32 << 20;

fn main() {
    for bytes in [1 << 10, 64 << 10, 1 << 20] {
        println!("{bytes} bytes: nanoseconds a byte, and to {}", SHAPES[0].0);
        let bodies = SHAPES.map(|(_, shape)| shape(bytes));
        let mut least = [Duration::MAX; SHAPES.len()];
        for _ in 0..TURNS {
            for (body, least) in bodies.iter().zip(&mut least) {
                *least = cost(body, (BYTES / bytes) as u32).min(*least);
            }
        }
        let form = least[0].as_secs_f64();
        for ((name, _), least) in SHAPES.iter().zip(least) {
            let each = least.as_nanos() as f64 / BYTES as f64;
            println!("  {each:7.2}  {:6.2}  {name}", least.as_secs_f64() / form);
        }
    }
}
