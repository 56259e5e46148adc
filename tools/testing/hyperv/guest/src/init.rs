// SPDX-License-Identifier: GPL-2.0
//! The duties of process 1: file systems, the shell, the end.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};
use hvprotocol::options::Options;
use nix::mount::{mount, MsFlags};
use nix::sys::reboot::{reboot, RebootMode};

const MOUNTS: [(&str, &str, &str); 6] = [
    ("devtmpfs", "/dev", "devtmpfs"),
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("tmpfs", "/tmp", "tmpfs"),
    ("debugfs", "/sys/kernel/debug", "debugfs"),
    ("tracefs", "/sys/kernel/tracing", "tracefs"),
];

/// Mounts the usual pseudo file systems. One that the kernel lacks (debugfs, tmpfs) is left out silently; the checks
/// that need it say so.
pub fn mount_all() {
    for (source, target, kind) in MOUNTS {
        let _ = fs::create_dir_all(target);
        // Busy means that the kernel mounted it already (devtmpfs).
        let _ = mount(Some(source), target, Some(kind), MsFlags::empty(), None::<&str>);
    }
}

/// What the runner asks of this boot.
///
/// # Errors
/// A word that makes no sense; also when `/proc` is not mounted.
pub fn options() -> Result<Options> {
    Options::parse(&fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?)
}

/// Runs an applet of busybox.
///
/// # Errors
/// When it says no; the message carries its words.
pub fn busybox(arguments: &[&str]) -> Result<()> {
    let words = arguments.join(" ");
    let out = Command::new("/bin/busybox").args(arguments).output().with_context(|| format!("/bin/busybox {words}"))?;
    if !out.status.success() {
        bail!("{words}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

/// Installs busybox's applets and gives the console to a shell until it ends.
///
/// # Errors
/// When there is no busybox or no console.
pub fn shell() -> Result<()> {
    Command::new("/bin/busybox").args(["--install", "-s", "/bin"]).status().context("/bin/busybox")?;
    if !Path::new("/bin/hvguest").exists() {
        std::os::unix::fs::symlink("/init", "/bin/hvguest").context("/bin/hvguest")?;
    }
    println!("`hvguest --help` lists the checks; leave the shell to power off.");
    let console = || fs::OpenOptions::new().read(true).write(true).open("/dev/ttyS0").context("/dev/ttyS0");
    let mut command = Command::new("/bin/sh");
    command.arg("-l").env("PATH", "/bin:/usr/bin").env("PS1", "guest# ").env("HOME", "/").current_dir("/");
    command.stdin(console()?).stdout(console()?).stderr(console()?);
    // SAFETY: setsid and ioctl are async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            let tty = std::io::stdin().as_raw_fd();
            match libc::ioctl(tty, libc::TIOCSCTTY, 0) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    command.status().context("/bin/sh")?;
    Ok(())
}

/// Switches the machine off. Does not return: a machine that cannot be switched off is left to the runner's timeout.
pub fn power_off() -> ! {
    nix::unistd::sync();
    let _ = reboot(RebootMode::RB_POWER_OFF);
    loop {
        std::thread::park();
    }
}
