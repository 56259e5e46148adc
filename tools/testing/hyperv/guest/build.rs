// SPDX-License-Identifier: GPL-2.0
//! A file that is added to the checks, or taken away, is a reason to compile: modules are found by their files.

fn main() {
    println!("cargo::rerun-if-changed=src/checks");
}
