//! One process of the imitation of Cyrus 2.3; see `stores::cyrus23::agent` for its arguments.
//!
//! `t-cyrus23 hold FILE` instead takes the POSIX lock of one file, says `held`, and keeps it until
//! its standard input closes.

use std::io::{self, Read};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &*args {
        [verb, file] if verb == "hold" => hold(file),
        _ => stores::cyrus23::agent::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("t-cyrus23: {e}");
            ExitCode::FAILURE
        }
    }
}

fn hold(file: &str) -> io::Result<()> {
    let file = std::fs::File::options().read(true).write(true).open(file)?;
    stores::judge::locks::wait(&file)?;
    println!("held");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
