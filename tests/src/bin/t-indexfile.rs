//! The program `indexfile`, built where integration tests find it.

fn main() -> std::process::ExitCode {
    indexfile::cli::main()
}
