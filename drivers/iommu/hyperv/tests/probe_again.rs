// SPDX-License-Identifier: GPL-2.0

//! The file `probe` in debugfs, for tests: each read looks for the IOMMU anew, as at boot, and sets
//! up one that nobody uses.
//!
//! So a test need not boot a machine for each possible answer of a host. The new IOMMU is not
//! registered: devices stay with the IOMMU that they have.

use crate::{
    domain::paging,
    instance::Instance,
    known::domains::Deleted,
    probe, //
};
use kernel::{
    debugfs::{
        Dir,
        File,
        Writer, //
    },
    fmt,
    iommu::pt,
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        SetOnce, //
    },
};

/// Holds an IOMMU that was set up for a test.
type Place = SetOnce<Pin<KBox<Instance>>>;

/// The file. It stays as long as the IOMMU, which is for ever.
static FILE: SetOnce<Pin<KBox<File<ProbeFile>>>> = SetOnce::new();

/// Makes the file.
///
/// Context: may sleep; called once.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn publish(dir: &Dir) -> Result {
    let data = try_pin_init!(ProbeFile {
        kept <- new_mutex!(KVec::new()),
    });
    let file = KBox::pin_init(dir.read_only_file(c"probe", data), GFP_KERNEL)?;
    FILE.populate(file);
    Ok(())
}

/// The file. A read sets an IOMMU up and shows the result in one line.
#[pin_data]
struct ProbeFile {
    /// The IOMMUs that were set up. They are listed here so that kmemleak does not report them.
    #[pin]
    kept: Mutex<KVec<&'static Place>>,
}

impl Writer for ProbeFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.set_up() {
            Ok(instance) => write_instance(f, instance),
            Err(error) => writeln!(f, "refused: errno {}", error.to_errno()),
        }
    }
}

impl ProbeFile {
    /// Sets an IOMMU up. It is never freed: a domain that the host does not delete refers to it.
    fn set_up(&self) -> Result<&'static Instance> {
        let (report, capabilities) = probe::examine()?;
        let mut kept = self.kept.lock();
        kept.reserve(1, GFP_KERNEL)?;
        let place: &'static Place = KBox::leak(KBox::new(SetOnce::new(), GFP_KERNEL)?);
        kept.push_within_capacity(place).map_err(|_| ENOMEM)?;
        drop(kept);
        place.populate(Instance::make(report, capabilities)?);
        place.as_ref().map(|instance| &**instance).ok_or(ENOMEM)
    }
}

fn write_instance(f: &mut fmt::Formatter<'_>, instance: &'static Instance) -> fmt::Result {
    let mut refusal = None;
    let table = match paging::allocate_for(instance, pt::Node::ANY, &mut refusal) {
        Ok(domain) => {
            drop(domain);
            0
        }
        Err(error) => error.to_errno(),
    };
    let aperture = instance.offer().aperture();
    let domains = instance.domains();
    writeln!(
        f,
        "served: width {} levels {} sizes {:#x} table {table} blocking {} identity {}",
        aperture.width,
        aperture.levels.count(),
        instance.offer().page_sizes(),
        fate(domains.blocking().map(|id| domains.delete(id))),
        fate(domains.identity().map(|id| domains.delete(id)))
    )
}

/// What became of a static domain when it was deleted, in a word.
fn fate(deleted: Option<Deleted>) -> &'static str {
    match deleted {
        None => "absent",
        Some(Deleted::Yes) => "deleted",
        Some(Deleted::No) => "retired",
    }
}
