//! Apple announces one stream per connection until a first request with a valid token went through, then many
//! ("Establishing a token-based connection"). The `h2` crate cannot change that setting on an open connection, so its
//! SETTINGS frames are edited on their way out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

const FRAME_HEADER: usize = 9;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const ENTRY: usize = 6;
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];

/// Whether a connection may have more than one stream.
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicBool,
    opened: Notify,
    under_way: AtomicUsize,
}

impl Gate {
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self { open: AtomicBool::new(false), opened: Notify::new(), under_way: AtomicUsize::new(0) })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// A valid token was seen.
    pub(crate) fn open(&self) {
        if !self.open.swap(true, Ordering::AcqRel) {
            self.opened.notify_one();
        }
    }

    pub(crate) async fn opened(&self) {
        self.opened.notified().await;
    }

    /// A place for one request, if there is one.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let others = self.under_way.fetch_add(1, Ordering::AcqRel);
        let pass = Pass { gate: Arc::clone(self) };
        (others == 0 || self.is_open()).then_some(pass)
    }
}

/// Held by a request until it is answered.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
}

impl Pass {
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection whose outgoing SETTINGS tell one stream while the gate is closed, and as many as there may be once it is
/// open. After those it only passes bytes on.
pub(crate) struct Announcing<W> {
    wire: W,
    editor: Option<Editor>,
}

struct Editor {
    gate: Arc<Gate>,
    max_streams: u32,
    /// A frame's header, and the rest of it if it is to be edited.
    frame: Vec<u8>,
    /// Bytes of a frame's payload that are passed on.
    passing: usize,
    told: bool,
    out: Vec<u8>,
    sent: usize,
}

impl<W> Announcing<W> {
    pub(crate) fn new(wire: W, gate: Option<Arc<Gate>>, max_streams: u32) -> Self {
        let editor = gate.map(|gate| {
            let (frame, out) = (Vec::new(), Vec::new());
            Editor { gate, max_streams, frame, passing: 0, told: false, out, sent: 0 }
        });
        Self { wire, editor }
    }
}

impl Editor {
    /// Takes bytes in, puts them out edited.
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.passing > 0 {
                let (now, later) = bytes.split_at(self.passing.min(bytes.len()));
                self.out.extend_from_slice(now);
                self.passing -= now.len();
                bytes = later;
                continue;
            }
            self.frame.push(*first);
            bytes = rest;
            self.look_at_frame();
        }
    }

    fn look_at_frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.frame.as_slice() else { return };
        if self.frame.len() < FRAME_HEADER {
            return;
        }
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        if *kind != SETTINGS || flags & ACK != 0 {
            self.out.append(&mut self.frame);
            self.passing = length;
        } else if self.frame.len() == FRAME_HEADER + length {
            let open = self.gate.is_open();
            let edited = edit(&self.frame, if open { self.max_streams } else { 1 });
            self.out.extend_from_slice(&edited);
            self.frame.clear();
            self.told |= open;
        }
    }

    /// Everything was told and nothing is held back.
    fn is_done(&self) -> bool {
        self.told && self.out.is_empty() && self.frame.is_empty() && self.passing == 0
    }

    fn drain<W: AsyncWrite + Unpin>(&mut self, wire: &mut W, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *wire).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

/// The frame with this number of streams and otherwise as it was.
fn edit(frame: &[u8], streams: u32) -> Vec<u8> {
    let (header, payload) = frame.split_at(FRAME_HEADER.min(frame.len()));
    let mut edited = header.to_vec();
    for entry in payload.chunks(ENTRY).filter(|entry| !entry.starts_with(&MAX_CONCURRENT_STREAMS)) {
        edited.extend_from_slice(entry);
    }
    edited.extend_from_slice(&MAX_CONCURRENT_STREAMS);
    edited.extend_from_slice(&streams.to_be_bytes());
    let length = (edited.len() - header.len()) as u32;
    for (place, byte) in length.to_be_bytes().into_iter().skip(1).enumerate() {
        if let Some(slot) = edited.get_mut(place) {
            *slot = byte;
        }
    }
    edited
}

impl<W: AsyncRead + Unpin> AsyncRead for Announcing<W> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_read(cx, buffer)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Announcing<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let Self { wire, editor } = self.get_mut();
        let Some(editor) = editor else { return Pin::new(wire).poll_write(cx, bytes) };
        ready!(editor.drain(wire, cx))?;
        if editor.is_done() {
            return Pin::new(wire).poll_write(cx, bytes);
        }
        editor.take(bytes);
        // What the wire does not take now goes with the next write or flush.
        if let Poll::Ready(Err(error)) = editor.drain(wire, cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Self { wire, editor } = self.get_mut();
        if let Some(editor) = editor {
            ready!(editor.drain(wire, cx))?;
        }
        Pin::new(wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
    }

    fn editor(gate: &Arc<Gate>) -> Editor {
        Editor {
            gate: Arc::clone(gate),
            max_streams: 1000,
            frame: Vec::new(),
            passing: 0,
            told: false,
            out: Vec::new(),
            sent: 0,
        }
    }

    proptest! {
        #[test]
        fn only_settings_are_edited_however_the_bytes_are_cut(
            data in proptest::collection::vec(any::<u8>(), 0..50),
            cuts in proptest::collection::vec(1usize..20, 1..20),
        ) {
            let gate = Gate::closed();
            let mut editor = editor(&gate);
            let initial = frame(SETTINGS, 0, &[0, 3, 0, 0, 3, 232, 0, 4, 0, 16, 0, 0]);
            let all = [initial, frame(SETTINGS, ACK, &[]), frame(0, 1, &data)].concat();
            let mut rest = all.as_slice();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                editor.take(now);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            gate.open();
            editor.take(&frame(SETTINGS, 0, &[0, 4, 0, 16, 0, 0]));
            let wanted = [
                frame(SETTINGS, 0, &[0, 4, 0, 16, 0, 0, 0, 3, 0, 0, 0, 1]),
                frame(SETTINGS, ACK, &[]),
                frame(0, 1, &data),
                frame(SETTINGS, 0, &[0, 4, 0, 16, 0, 0, 0, 3, 0, 0, 3, 232]),
            ];
            prop_assert_eq!(&editor.out, &wanted.concat());
            prop_assert!(editor.told);
        }
    }
}
