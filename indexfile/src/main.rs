//! The `indexfile` command; everything is in [`indexfile::cli`].
fn main() -> std::process::ExitCode {
    indexfile::cli::main()
}
