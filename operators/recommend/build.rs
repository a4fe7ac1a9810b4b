//! Lets this package's tests find libtorch at run time without an environment variable, where it is not
//! loaded on demand (see the crate `towline-torch`).

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let on_demand = target("OS") == "linux" && target("ARCH") == "x86_64";
    if on_demand || std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    if let Ok(folder) = std::env::var("LIBTORCH") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/lib");
        // The linker would drop libraries that no symbol names directly, and with them the registration of kernels.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    }
}
