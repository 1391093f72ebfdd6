//! A request body that is put together as it comes; in one frame it is not copied.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

/// A larger body is not read to its end.
const MOST_BYTES: usize = 64 << 10;

pub(crate) struct Body {
    stream: RecvStream,
    read: Read,
}

enum Read {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

/// Why there is no body.
pub(crate) enum BodyEnd {
    TooLarge,
    Broken,
}

impl Body {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, read: Read::Nothing }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, BodyEnd>> {
        loop {
            match self.stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(BodyEnd::Broken)),
                Poll::Ready(Some(Ok(data))) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if self.push(data) > MOST_BYTES {
                        return Poll::Ready(Err(BodyEnd::TooLarge));
                    }
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Ok(match std::mem::replace(&mut self.read, Read::Nothing) {
                        Read::Nothing => Bytes::new(),
                        Read::One(bytes) => bytes,
                        Read::Many(bytes) => bytes.freeze(),
                    }));
                }
            }
        }
    }

    fn push(&mut self, data: Bytes) -> usize {
        self.read = match std::mem::replace(&mut self.read, Read::Nothing) {
            Read::Nothing => Read::One(data),
            Read::One(first) => {
                let mut bytes = BytesMut::with_capacity(first.len() + data.len());
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                Read::Many(bytes)
            }
            Read::Many(mut bytes) => {
                bytes.extend_from_slice(&data);
                Read::Many(bytes)
            }
        };
        match &self.read {
            Read::Nothing => 0,
            Read::One(bytes) => bytes.len(),
            Read::Many(bytes) => bytes.len(),
        }
    }
}
