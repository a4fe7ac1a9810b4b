//! The command `towline`.

fn main() -> towline::cli::Exit {
    towline::cli::main()
}
