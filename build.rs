//! Says where the data of tests is; lets the program and its tests find libtorch at run time without an environment
//! variable, where it is not loaded on demand (see the crate `towline-torch`).

use std::path::Path;

fn main() {
    find_movielens();
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

/// A test that needs MovieLens is listed as ignored where it is absent, instead of passing without having checked.
fn find_movielens() {
    println!("cargo:rustc-check-cfg=cfg(movielens)");
    println!("cargo:rerun-if-env-changed=TOWLINE_DATA");
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let beside = Path::new(&manifest).join("../shared/data");
    let folder = std::env::var_os("TOWLINE_DATA")
        .map_or(beside, Into::into)
        .join("ml-latest-small");
    println!("cargo:rerun-if-changed={}", folder.display());
    if folder.join("ratings.csv").is_file() {
        println!("cargo:rustc-cfg=movielens");
        println!("cargo:rustc-env=TOWLINE_MOVIELENS={}", folder.display());
    }
}
