//! The program `controller`, built where integration tests find it.

fn main() -> std::process::ExitCode {
    controller::cli::main()
}
