//! slotd: the per-host agent of reguid.
fn main() -> std::process::ExitCode {
    slotd::cli::main()
}
