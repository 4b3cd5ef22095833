//! Buffer space management (virtio 1.2, section 5.10.6.3): the two windows of
//! a connection. All counters run modulo 2^32.

/// The guest sent more than it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

/// What the guest may send to us.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    buf_alloc: u32,
    received: u32,
    forwarded: u32,
    announced: u32,
}

impl Granted {
    /// A window of `buf_alloc` octets, all of it free.
    #[must_use]
    pub fn new(buf_alloc: u32) -> Self {
        Self {
            buf_alloc,
            received: 0,
            forwarded: 0,
            announced: 0,
        }
    }

    /// Octets taken from the guest and not yet handed on.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.received.wrapping_sub(self.forwarded)
    }

    /// Takes `len` octets from the guest, or refuses all of them.
    ///
    /// # Errors
    /// [`Overrun`] when they do not fit into the window.
    pub fn accept(&mut self, len: u32) -> Result<(), Overrun> {
        if len > self.buf_alloc - self.held() {
            return Err(Overrun);
        }
        self.received = self.received.wrapping_add(len);
        Ok(())
    }

    /// `len` octets left the buffer, at most [`Self::held`].
    pub fn forward(&mut self, len: u32) {
        self.forwarded = self.forwarded.wrapping_add(len.min(self.held()));
    }

    /// Whether the guest believes less than half of the window to be free
    /// while more of it is. Waiting that long keeps updates rare; waiting
    /// longer would let a sender run dry.
    #[must_use]
    pub fn is_worth_announcing(&self) -> bool {
        let in_flight = self.received.wrapping_sub(self.announced);
        self.forwarded != self.announced && in_flight > self.buf_alloc / 2
    }

    /// The pair (`buf_alloc`, `fwd_cnt`) for a packet that is about to be sent.
    pub fn announce(&mut self) -> (u32, u32) {
        self.announced = self.forwarded;
        (self.buf_alloc, self.forwarded)
    }
}

/// What we may send to the guest.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    buf_alloc: u32,
    forwarded: u32,
    sent: u32,
}

impl Allowed {
    /// The window of a peer that has buffer space of `buf_alloc` and says that
    /// it has taken `forwarded` out of it.
    #[must_use]
    pub fn new(buf_alloc: u32, forwarded: u32) -> Self {
        Self {
            buf_alloc,
            forwarded,
            sent: 0,
        }
    }

    /// Takes over what a packet of the guest says.
    pub fn update(&mut self, buf_alloc: u32, forwarded: u32) {
        self.buf_alloc = buf_alloc;
        self.forwarded = forwarded;
    }

    /// Octets that may be sent now. A guest that shrank its buffer below what
    /// is under way, or that claims to have taken what was never sent, gets
    /// nothing until its numbers make sense again.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.buf_alloc
            .saturating_sub(self.sent.wrapping_sub(self.forwarded))
    }

    /// `len` octets were sent.
    pub fn spend(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_takes_its_size_and_not_one_octet_more() {
        let mut granted = Granted::new(100);
        assert_eq!(granted.accept(101), Err(Overrun));
        assert_eq!(granted.accept(100), Ok(()));
        assert_eq!(granted.accept(1), Err(Overrun));
        assert_eq!(granted.accept(0), Ok(()));
        granted.forward(1);
        assert_eq!(granted.accept(1), Ok(()));
    }

    #[test]
    fn an_update_is_due_when_the_guest_runs_low_and_there_is_news() {
        let mut granted = Granted::new(100);
        granted.accept(51).unwrap();
        assert!(!granted.is_worth_announcing(), "nothing was handed on");
        granted.forward(1);
        assert!(granted.is_worth_announcing());
        assert_eq!(granted.announce(), (100, 1));
        assert!(!granted.is_worth_announcing(), "just told");
    }

    #[test]
    fn a_guest_with_half_its_window_is_left_alone() {
        let mut granted = Granted::new(100);
        granted.accept(50).unwrap();
        granted.forward(50);
        assert!(!granted.is_worth_announcing());
    }

    #[test]
    fn nonsense_from_the_guest_means_no_credit() {
        let mut allowed = Allowed::new(100, 0);
        allowed.spend(80);
        allowed.update(50, 0);
        assert_eq!(allowed.available(), 0, "shrank its buffer");
        allowed.update(100, 81);
        assert_eq!(allowed.available(), 0, "took what was not sent");
        allowed.update(100, 80);
        assert_eq!(allowed.available(), 100);
    }

    proptest! {
        /// Whatever the counters have come to, also across 2^32.
        #[test]
        fn both_sides_agree_on_the_free_space(
            start in any::<u32>(),
            steps in proptest::collection::vec((0u32..2000, 0u32..2000), 1..200),
        ) {
            let mut granted = Granted { buf_alloc: 1000, received: start, forwarded: start, announced: start };
            let mut allowed = Allowed { buf_alloc: 1000, forwarded: start, sent: start };
            for (send, forward) in steps {
                let len = send.min(allowed.available());
                prop_assert!(granted.accept(len).is_ok());
                allowed.spend(len);
                granted.forward(forward);
                prop_assert!(granted.held() <= 1000);
                prop_assert!(allowed.available() <= 1000 - granted.held());
                if granted.is_worth_announcing() || allowed.available() == 0 {
                    let (buf_alloc, forwarded) = granted.announce();
                    allowed.update(buf_alloc, forwarded);
                    prop_assert_eq!(allowed.available(), 1000 - granted.held());
                }
            }
        }
    }
}
