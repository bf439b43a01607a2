//! The binary `relevo`: see [`relevo::cli`].

fn main() -> std::process::ExitCode {
    relevo::cli::main()
}
