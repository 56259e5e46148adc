// SPDX-License-Identifier: GPL-2.0
//! Verified I/O of the NVMe controllers that goes on while something else is tested.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{anyhow, Result};

use crate::check::Context;
use crate::disk;

/// I/O that goes on until [`Load::finish`].
pub struct Load {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Result<u64>>,
}

impl Load {
    /// Starts on the first controller.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(context: &Context<'_>) -> Result<Load> {
        let mut namespaces = Vec::new();
        for controller in context.nvme()? {
            namespaces.push(controller.nvme_namespace()?);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Ok(Load { stop, worker: std::thread::spawn(move || work(&namespaces, &seen)) })
    }

    /// Ends it; the number of bytes that were compared.
    ///
    /// # Errors
    /// The first I/O error or difference.
    pub fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().map_err(|_| anyhow!("the I/O in the background panicked"))?
    }
}

/// At least once, so that a short test has its I/O, too.
fn work(namespaces: &[PathBuf], stop: &AtomicBool) -> Result<u64> {
    let mut compared = 0;
    loop {
        for namespace in namespaces {
            compared += disk::verify(namespace)?;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(compared);
        }
    }
}
