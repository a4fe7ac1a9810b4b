//! Lets this package's tests find libtorch at run time without an environment variable.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    if let Ok(folder) = std::env::var("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/lib");
        // The linker would drop libraries that no symbol names directly, and with them the registration of kernels.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    }
}
