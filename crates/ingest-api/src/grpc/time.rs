//! Times as protobuf has them.

use carillon_domain::fault::Faults;
use jiff::Timestamp;

pub(super) fn to_wire(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

pub(super) fn read(faults: &mut Faults, pointer: &str, at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let at = at?;
    let read = Timestamp::new(at.seconds, at.nanos).ok();
    if read.is_none() {
        faults.add(pointer, "is not a time between the years -9999 and 9999");
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_back_and_nonsense_is_named() {
        let at: Timestamp = "1969-12-31T23:59:58.5Z".parse().unwrap();
        let mut faults = Faults::new();
        assert_eq!(read(&mut faults, "/from", Some(to_wire(at))), Some(at));
        let bad = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(read(&mut faults, "/from", Some(bad)), None);
        assert_eq!(faults.as_slice().len(), 1);
    }
}
