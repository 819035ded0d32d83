//! `load http|nats|idle OPTIONS`: one measurement, as JSON on standard output.

use std::{env, process::ExitCode};

use load::{Failure, Options};

fn main() -> ExitCode {
    match measured() {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measured() -> Result<String, Failure> {
    let options = Options::parse(env::args_os().skip(1))?;
    Ok(load::run(&options)?.to_string())
}
