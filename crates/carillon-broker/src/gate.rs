//! Whether a consumer takes new messages: not while one of them meets a fault.

use tokio::sync::watch;

/// Counts the messages that wait for a fault to end.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<usize>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Shuts the gate for as long as the result lives.
    pub(crate) fn shut(&self) -> Shut {
        self.0.send_modify(|count| *count += 1);
        Shut(self.0.clone())
    }

    /// For waiting until it opens: open while the value is 0.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }
}

/// One reason to stay shut.
#[derive(Debug)]
pub(crate) struct Shut(watch::Sender<usize>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_when_the_last_fault_is_over() {
        let gate = Gate::new();
        let watch = gate.watch();
        let (first, second) = (gate.shut(), gate.shut());
        drop(first);
        assert_eq!(*watch.borrow(), 1);
        drop(second);
        assert_eq!(*watch.borrow(), 0);
    }
}
