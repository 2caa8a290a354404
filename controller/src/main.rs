//! The `controller` binary; see the library.

fn main() -> std::process::ExitCode {
    controller::cli::main()
}
