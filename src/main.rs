//! The command `towline`.

fn main() -> towline::cli::Exit {
    towline::Engine::new().main()
}
