//! How the agent is linked: for its size in every guest's memory.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=no-unwind.ld");
    // Relocations as a bitmap: half a megabyte less.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // A release build aborts on panic, so nothing ever unwinds.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/no-unwind.ld");
    }
}
