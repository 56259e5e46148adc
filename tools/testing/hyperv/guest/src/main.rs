// SPDX-License-Identifier: GPL-2.0
//! The program inside the test guest.

fn main() -> std::process::ExitCode {
    hvguest::main()
}
