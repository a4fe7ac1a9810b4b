//! Says where the data of tests is.

use std::path::Path;

fn main() {
    find_movielens();
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
