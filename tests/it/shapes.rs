//! No shape of a body makes it cost much more than another of its size.

use std::time::Duration;

use crate::support::shapes::{SHAPES, cost};

const BYTES: usize = 64 << 10;

/// The most that a body may cost to what a form posts. Optimized, as the program is, it is about
/// half of it; where each level reads all that is inside of it once more, it is above 50.
const RATIO_MAX: f64 = 16.0;

#[test]
fn the_worst_body_of_a_size_costs_a_small_multiple_of_what_a_form_posts() {
    let bodies = SHAPES.map(|(name, shape)| (name, shape(BYTES)));
    let mut least = [Duration::MAX; SHAPES.len()];
    for _ in 0..4 {
        for ((_, body), least) in bodies.iter().zip(&mut least) {
            *least = cost(body, 10).min(*least);
        }
    }
    let form = least[0].as_secs_f64();
    for ((name, body), least) in bodies.iter().zip(least) {
        assert!(BYTES - body.len() < 300, "{name}: {} bytes", body.len());
        let ratio = least.as_secs_f64() / form;
        assert!(ratio < RATIO_MAX, "{name} costs {ratio:.1} times as much as {}", SHAPES[0].0);
    }
}
