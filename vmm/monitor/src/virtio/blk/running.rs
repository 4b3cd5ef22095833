//! A disk in use: requests go from its queues to the engine, and answers back.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use virtio_queue::DescriptorChain;
use vm_memory::GuestMemoryMmap;

use super::DEPTH;
use super::engine::{Engine, EngineError, Order};
use super::request::{Answer, Parsed, Rules, parse};
use super::work::{Next, Status};
use crate::complaints;
use crate::events::Sources;
use crate::virtio::Slot;
use crate::virtio::device::Start;
use crate::virtio::ring::{BUDGET, Ring};

/// It cannot go on.
#[derive(Debug)]
pub(super) enum ServeError {
    /// The driver broke a queue.
    Queue,
    /// The kernel takes no work.
    Engine(EngineError),
}

impl From<virtio_queue::Error> for ServeError {
    fn from(_: virtio_queue::Error) -> Self {
        Self::Queue
    }
}

impl From<EngineError> for ServeError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// A queue, and whether there may be something in it.
struct Queue {
    ring: Ring,
    waiting: bool,
}

/// A disk between start and stop. Dropped, nothing of it is under way.
pub(super) struct Running {
    queues: Vec<Option<Queue>>,
    /// Whose turn it is.
    first: usize,
    memory: Arc<GuestMemoryMmap>,
    rules: Rules,
    engine: Engine,
    slot: Slot,
    /// Requests that have no answer yet.
    under_way: usize,
    /// Those of them of which a step is over, and the next one is to begin.
    resting: VecDeque<Order>,
    _sources: Sources,
}

impl Running {
    pub(super) fn new(start: Start, rules: Rules, engine: Engine) -> io::Result<Self> {
        let mut sources = start.sources;
        let queues: Vec<_> = start
            .queues
            .into_iter()
            .map(|ready| {
                let ring = Ring::new(ready?, start.interrupt.clone());
                let waiting = false;
                Some(Queue { ring, waiting })
            })
            .collect();
        for (source, queue) in (0..).zip(&queues) {
            if let Some(queue) = queue {
                queue.ring.watch(&mut sources, source)?;
            }
        }
        Ok(Self {
            queues,
            first: 0,
            memory: Arc::new(start.memory),
            rules,
            engine,
            slot: sources.slot(),
            under_way: 0,
            resting: VecDeque::new(),
            _sources: sources,
        })
    }

    /// A kick of the queue of number `source`; any other: work was finished.
    pub(super) fn serve(&mut self, source: u16) -> Result<(), ServeError> {
        if let Some(Some(queue)) = self.queues.get_mut(usize::from(source)) {
            queue.ring.acknowledge();
            queue.waiting = true;
        }
        let mut budget = BUDGET;
        // First what makes room.
        self.finish()?;
        loop {
            self.go_on(&mut budget)?;
            self.take(&mut budget)?;
            self.engine.flush()?;
            if !self.finish()? {
                break;
            }
        }
        self.tell(budget)
    }

    /// Begins the next steps of what was begun. Each costs what a request does:
    /// otherwise one of many would be done in a turn.
    fn go_on(&mut self, budget: &mut u16) -> Result<(), ServeError> {
        while *budget > 0
            && let Some(order) = self.resting.pop_front()
        {
            *budget -= 1;
            self.engine.start(order)?;
        }
        Ok(())
    }

    /// Begins requests, each queue's in its turn, as many as may be under way.
    fn take(&mut self, budget: &mut u16) -> Result<(), ServeError> {
        let count = self.queues.len();
        let memory = Arc::clone(&self.memory);
        let first = self.first;
        for index in (0..count).map(|offset| (first + offset) % count) {
            while *budget > 0 && self.under_way < DEPTH {
                match self.next(index, &memory)? {
                    Some(chain) => {
                        *budget -= 1;
                        self.begin(index, chain)?;
                    }
                    None => break,
                }
            }
        }
        self.first = (self.first + 1).checked_rem(count).unwrap_or(0);
        Ok(())
    }

    fn next<'m>(
        &mut self,
        index: usize,
        memory: &'m GuestMemoryMmap,
    ) -> Result<Option<DescriptorChain<&'m GuestMemoryMmap>>, ServeError> {
        let Some(Some(queue)) = self.queues.get_mut(index) else {
            return Ok(None);
        };
        while queue.waiting {
            match queue.ring.take(memory)? {
                None => queue.waiting = queue.ring.rearm(memory)?,
                chain => return Ok(chain),
            }
        }
        Ok(None)
    }

    fn begin(
        &mut self,
        queue: usize,
        chain: DescriptorChain<&GuestMemoryMmap>,
    ) -> Result<(), ServeError> {
        let head = chain.head_index();
        match parse(queue, chain, &self.memory, &self.rules) {
            Ok((answer, Parsed::Work(work))) => {
                self.under_way += 1;
                Ok(self.engine.start(Order {
                    slot: self.slot,
                    backing: Arc::clone(&self.rules.backing),
                    answer,
                    work,
                })?)
            }
            Ok((answer, Parsed::Over(status))) => self.answer(&answer, status),
            Err(error) => {
                complaints::write(format_args!("request to a disk is {error}"));
                self.give_back(queue, head, 0)
            }
        }
    }

    /// Answers what is over. Whether there was anything.
    fn finish(&mut self) -> Result<bool, ServeError> {
        let mut any = false;
        while let Some(mut finished) = self.engine.finished(self.slot) {
            any = true;
            match finished.order.work.note(finished.result) {
                Next::Again => self.resting.push_back(finished.order),
                Next::Over(status) => {
                    self.under_way = self.under_way.saturating_sub(1);
                    self.answer(&finished.order.answer, status)?;
                }
            }
        }
        Ok(any)
    }

    fn answer(&mut self, answer: &Answer, status: Status) -> Result<(), ServeError> {
        let written = answer.give(&self.memory, status);
        self.give_back(answer.queue, answer.head, written)
    }

    fn give_back(&mut self, queue: usize, head: u16, written: u32) -> Result<(), ServeError> {
        if let Some(Some(queue)) = self.queues.get_mut(queue) {
            queue.ring.give_back(&self.memory, head, written)?;
            queue.ring.show(&self.memory)?;
        }
        Ok(())
    }

    /// Tells the driver what is new. A driver that makes requests as fast as
    /// they are answered, or long ones, gets the next turn, not this one for ever.
    fn tell(&mut self, budget: u16) -> Result<(), ServeError> {
        let rests = !self.resting.is_empty();
        for queue in self.queues.iter_mut().flatten() {
            queue.ring.tell(&self.memory)?;
            if rests || budget == 0 && queue.waiting {
                queue.ring.call_again();
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.engine.drain(self.slot) {
            // What was given to the kernel keeps its memory and its file.
            eprintln!("{}", crate::error::chain(&error));
        }
    }
}
