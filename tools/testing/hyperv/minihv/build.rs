// SPDX-License-Identifier: GPL-2.0
//! Link arguments: minihv is a static ELF at a fixed physical address, with no C run-time around it.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=link.ld");
    println!(
        "cargo:rustc-link-arg-bins=-Wl,-T,{directory}/link.ld,--build-id=none,-z,noexecstack,--no-warn-rwx-segments"
    );
    for argument in ["-nostdlib", "-nostartfiles", "-static", "-no-pie"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
