// SPDX-License-Identifier: GPL-2.0

//! The queue of requests.
//!
//! A request that nobody waits for yet is only added to the queue. Whoever waits notifies the
//! device and takes all answers, with the queue locked, so only one waits at a time. The buffers of
//! such requests are allocated once, and used again and again.

use super::{
    protocol::{
        self,
        Attach,
        DomainId,
        EndpointId,
        Probe,
        Translation,
        REQUEST_BYTES,
        TAIL_BYTES, //
    },
    refusals::{
        Change,
        Refusals, //
    }, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    virtio::{
        buffer::Buffer,
        queue::{
            Answer,
            Locked,
            Queue,
            QueueRef,
            State, //
        },
    },
};
use zerocopy::Immutable;

/// Who gets the answer to a request.
pub(crate) enum Asker {
    /// Nobody: the buffer is not in use.
    Nobody,
    /// Whoever waits for this very request.
    Waiter,
    /// A domain, which is told only if the device refuses.
    Domain(Change, Arc<Refusals>),
}

/// A buffer for a request and its answer.
type Request = Buffer<Asker>;

/// What the driver keeps for the queue.
pub(crate) struct Pool {
    /// The buffers that are not in use. The vector has room for all buffers.
    idle: KVec<KBox<Request>>,
    /// How many requests the device has not answered yet.
    in_flight: usize,
}

impl Pool {
    /// Counts a request that was added to the queue. The size of the queue limits the number.
    #[inline]
    fn sent(&mut self) {
        self.in_flight = self.in_flight.wrapping_add(1);
    }

    /// Counts a request that the device has answered.
    #[inline]
    fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

#[vtable]
impl State for Pool {
    type Context = Asker;
}

/// The queue of requests.
pub(crate) struct Requests(Arc<Queue<Pool>>);

impl Requests {
    /// The request queue, to be opened.
    pub(crate) fn new() -> Result<Requests> {
        let pool = Pool {
            idle: KVec::new(),
            in_flight: 0,
        };
        Ok(Requests(Queue::new(c"request", pool)?))
    }

    /// The queue, for `Device::find_queues`.
    pub(crate) fn queue(&self) -> QueueRef {
        self.0.clone().into()
    }

    /// Allocates as many buffers as the queue has room for. Called once, after the queue was
    /// opened.
    ///
    /// Context: may sleep.
    pub(crate) fn fill(&self) -> Result {
        let room = self.0.lock().room();
        let mut idle = KVec::with_capacity(room, GFP_KERNEL)?;
        for _ in 0..room {
            idle.push(
                Buffer::new(REQUEST_BYTES, Asker::Nobody, GFP_KERNEL)?,
                GFP_KERNEL,
            )?;
        }
        self.0.lock().state().idle = idle;
        Ok(())
    }

    /// Sends a request. The domain is told only if the device refuses it.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// The request was not sent: the device is gone or broken.
    #[inline]
    pub(crate) fn add<M>(&self, message: &M, change: Change, domain: &Arc<Refusals>) -> Result
    where
        M: IntoBytes + Immutable,
    {
        let mut queue = self.0.lock();
        let request = prepare(&mut queue, message)?;
        add(&mut queue, request, Asker::Domain(change, domain.clone()))
    }

    /// Waits until all requests that were sent before are answered.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// [`EIO`]: not all of them will be answered.
    #[inline]
    pub(crate) fn sync(&self) -> Result {
        let mut queue = self.0.lock();
        if queue.state().in_flight == 0 {
            return Ok(());
        }
        drain(&mut queue).map(|_| ())
    }

    /// Sends a request, and waits for its answer.
    fn ask(&self, request: KBox<Request>, queue: &mut Locked<'_, Pool>) -> Result<Answer<Asker>> {
        add(queue, request, Asker::Waiter)?;
        drain(queue)?.ok_or(EIO)
    }

    /// Puts an endpoint into a domain.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// The device's error. [`ENOENT`]: the device does not know the endpoint. After any other
    /// error, the endpoint may be in the domain, in none, or where it was.
    pub(crate) fn attach(
        &self,
        endpoint: EndpointId,
        domain: DomainId,
        translation: Translation,
    ) -> Result {
        let mut queue = self.0.lock();
        let request = prepare(&mut queue, &Attach::new(domain, translation, endpoint))?;
        let mut answer = self.ask(request, &mut queue)?;
        let outcome = protocol::outcome(answer.written(), TAIL_BYTES);
        answer.buffer.context = Asker::Nobody;
        put_back(queue.state(), answer.buffer);
        outcome
    }

    /// Asks for an endpoint's properties, of `bytes` bytes at most, and passes them to `read`.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], the device's error, or that of `read`.
    pub(crate) fn probe<R>(
        &self,
        probe: &Probe,
        bytes: usize,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let reply = bytes.checked_add(TAIL_BYTES).ok_or(EINVAL)?;
        let room = reply.checked_add(size_of::<Probe>()).ok_or(EINVAL)?;
        let mut request = Buffer::new(room, Asker::Nobody, GFP_KERNEL)?;
        request.prepare(probe, reply)?;
        let answer = self.ask(request, &mut self.0.lock())?;
        protocol::outcome(answer.written(), reply)?;
        read(answer.written().get(..bytes).unwrap_or(&[]))
    }
}

/// Takes a buffer, waits for one if necessary, and writes a message to it.
#[inline]
fn prepare<M>(queue: &mut Locked<'_, Pool>, message: &M) -> Result<KBox<Request>>
where
    M: IntoBytes + Immutable,
{
    let mut request = match queue.state().idle.pop() {
        Some(request) => request,
        None => {
            drain(queue)?;
            queue.state().idle.pop().ok_or(ENODEV)?
        }
    };
    match request.prepare(message, TAIL_BYTES) {
        Ok(()) => Ok(request),
        Err(error) => {
            put_back(queue.state(), request);
            Err(error)
        }
    }
}

/// Gives a request to the device. If the queue is full, waits until it is not.
#[inline]
fn add(queue: &mut Locked<'_, Pool>, mut request: KBox<Request>, asker: Asker) -> Result {
    request.context = asker;
    let refused = match queue.add(request) {
        Ok(()) => {
            queue.state().sent();
            return Ok(());
        }
        Err(refused) => refused,
    };
    add_again(queue, refused.error, refused.buffer)
}

#[cold]
fn add_again(queue: &mut Locked<'_, Pool>, error: Error, request: KBox<Request>) -> Result {
    let (error, mut request) = if error == ENOSPC && drain(queue).is_ok() {
        match queue.add(request) {
            Ok(()) => {
                queue.state().sent();
                return Ok(());
            }
            Err(refused) => (refused.error, refused.buffer),
        }
    } else {
        (error, request)
    };
    request.context = Asker::Nobody;
    put_back(queue.state(), request);
    Err(error)
}

/// Puts a buffer back into the pool. A buffer that was not from the pool is freed.
#[inline]
fn put_back(pool: &mut Pool, request: KBox<Request>) {
    // The pool has room for its own buffers only, so the push fails for another one.
    let _ = pool.idle.push_within_capacity(request);
}

/// How long the device may take for an answer. If it takes longer, it will never answer, perhaps
/// because its bus mastering was switched off for the next kernel.
const PATIENCE: Delta = Delta::from_millis(10_000);

/// How often the driver polls the queue between two looks at the clock.
const LOOKS: u32 = 4096;

/// Waits until all requests are answered. Returns the answer to the one request that somebody waits
/// for, if there is one.
///
/// # Errors
///
/// [`EIO`]: not all of them will be answered.
fn drain(queue: &mut Locked<'_, Pool>) -> Result<Option<Answer<Asker>>> {
    let mut wanted = None;
    let (mut looks, mut since) = (0u32, None);
    queue.kick();
    while queue.state().in_flight > 0 {
        let Some(mut answer) = queue.take() else {
            if queue.is_broken() {
                return Err(EIO);
            }
            looks = looks.wrapping_add(1);
            if looks % LOOKS == 0 {
                let since: &Instant<Monotonic> = since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    queue.give_up();
                    return Err(EIO);
                }
            }
            cpu_relax();
            continue;
        };
        queue.state().answered();
        if let Asker::Waiter = answer.buffer.context {
            wanted = Some(answer);
            continue;
        }
        if let Asker::Domain(change, refusals) = &answer.buffer.context {
            if change.is_refused_by(protocol::outcome(answer.written(), TAIL_BYTES)) {
                refusals.note(*change, answer.buffer.readable());
            }
        }
        answer.buffer.context = Asker::Nobody;
        put_back(queue.state(), answer.buffer);
    }
    Ok(wanted)
}
