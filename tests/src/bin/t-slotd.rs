//! The program `slotd`, built where integration tests find it.

fn main() -> std::process::ExitCode {
    slotd::cli::main()
}
