//! The program `precompute`, built where integration tests find it.

fn main() -> std::process::ExitCode {
    precompute::cli::main()
}
