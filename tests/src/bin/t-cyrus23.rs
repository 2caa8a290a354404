//! One process of the imitation of Cyrus 2.3; see `tests::cyrus23::agent` for its arguments.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match tests::cyrus23::agent::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("t-cyrus23: {e}");
            ExitCode::FAILURE
        }
    }
}
