//! Tests of the files.

mod faults;

use super::*;
use bowline_runtime::metric::Registry;

/// Keeps what it hears.
#[derive(Debug, Default)]
struct Heard {
    found: Vec<(Place, Vec<u8>)>,
    segments: Vec<u32>,
}

impl Follower for Heard {
    fn opened(&mut self, segment: u32, _: Arc<File>) {
        self.segments.push(segment);
    }

    fn found(&mut self, place: Place, record: &[u8]) -> bool {
        self.found.push((place, record.to_owned()));
        true
    }

    fn deleting(&mut self, segment: u32) {
        self.segments.retain(|id| *id != segment);
    }
}

fn open(dir: &Path) -> Result<(Log, Heard), Error> {
    open_on(Disk::default(), dir)
}

fn open_on(disk: Disk, dir: &Path) -> Result<(Log, Heard), Error> {
    let settings = Settings { bytes_max: crate::traces::BYTES_MAX_MIN, ..Settings::new(dir) };
    let mut heard = Heard::default();
    let log = Log::open(&settings, disk, Arc::new(Metrics::new(&Registry::default())), &mut heard)?;
    Ok((log, heard))
}

fn records(heard: &Heard) -> Vec<&[u8]> {
    heard.found.iter().map(|(_, record)| &**record).collect()
}

/// A folder with three records in one segment; gives the segment's path.
fn three_records(dir: &Path) -> PathBuf {
    let (mut log, mut heard) = open(dir).unwrap();
    for text in ["one", "two", "three"] {
        log.append(text.as_bytes(), &mut heard).unwrap();
    }
    log.segments[0].path.clone()
}

#[test]
fn what_is_written_is_found_again_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let (mut log, mut heard) = open(dir.path()).unwrap();
    assert_eq!(records(&heard), [b"one".as_slice(), b"two", b"three"]);
    let place = log.append(b"four", &mut heard).unwrap();
    assert_eq!(place.segment, 1);
    assert_eq!(read_record(&log.segments[0].file, 1, place.offset).unwrap(), b"four");
    drop(log);
    assert_eq!(open(dir.path()).unwrap().1.found.len(), 4);
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_tore() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(three_records(dir.path())).unwrap();
    let third = whole.len() - 16 - "three".len();
    for length in third + 1..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = three_records(dir.path());
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
        let (mut log, mut heard) = open(dir.path()).unwrap();
        assert_eq!(records(&heard), [b"one".as_slice(), b"two"], "{length}");
        assert_eq!((log.bytes(), log.metrics.tails_cut.get()), (third as u64, 1));
        log.append(b"four", &mut heard).unwrap();
        drop(log);
        assert_eq!(records(&open(dir.path()).unwrap().1), [b"one".as_slice(), b"two", b"four"]);
    }
}

#[test]
fn zeros_at_the_end_are_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_records(dir.path());
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length + 5000).unwrap();
    let (log, heard) = open(dir.path()).unwrap();
    assert_eq!((heard.found.len(), log.bytes(), log.metrics.tails_cut.get()), (3, length, 1));
}

#[test]
fn damage_in_the_middle_skips_the_rest_loudly_and_is_not_written_after() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_records(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let two = bytes.windows(3).position(|window| window == b"two").unwrap();
    bytes[two] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (mut log, mut heard) = open(dir.path()).unwrap();
    assert_eq!(records(&heard), [b"one"]);
    assert_eq!((log.metrics.segments_corrupt.get(), log.metrics.tails_cut.get()), (1, 0));
    assert_eq!(log.append(b"four", &mut heard).unwrap().segment, 2);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    drop(log);
    assert_eq!(records(&open(dir.path()).unwrap().1), [b"one".as_slice(), b"four"]);
}

#[test]
fn a_damaged_length_is_no_torn_tail() {
    // Bits that make the length of the first or second record point past the end.
    for (at, bit) in [(16, 7), (17, 0), (18, 5), (35, 6)] {
        let dir = tempfile::tempdir().unwrap();
        let path = three_records(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let (mut log, mut heard) = open(dir.path()).unwrap();
        assert_eq!(heard.found.len(), usize::from(at > 30));
        assert_eq!((log.metrics.segments_corrupt.get(), log.metrics.tails_cut.get()), (1, 0), "{at} {bit}");
        assert_eq!(log.append(b"four", &mut heard).unwrap().segment, 2);
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was cut");
    }
}

#[test]
fn a_torn_tail_full_of_small_numbers_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { bytes_max: 64 * crate::traces::BYTES_MAX_MIN, ..Settings::new(dir.path()) };
    let open = |heard: &mut Heard| {
        Log::open(&settings, Disk::default(), Arc::new(Metrics::new(&Registry::default())), heard).unwrap()
    };
    let mut heard = Heard::default();
    let mut log = open(&mut heard);
    // At every fourth byte, what could be the length of a record of 1 MiB.
    let record: Vec<u8> = (0..3_000_000).map(|at| if at % 4 == 2 { 16 } else { 0 }).collect();
    log.append(&record, &mut heard).unwrap();
    let segment = &log.segments[0];
    segment.file.set_len(segment.bytes - 1).unwrap();
    drop(log);
    let log = open(&mut Heard::default());
    assert_eq!((log.metrics.segments_corrupt.get(), log.metrics.tails_cut.get()), (0, 1));
}

#[test]
fn a_record_in_the_wrong_place_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_records(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    // The first two records have the same length: swap them, checksums and all.
    let (one, two) = (16..35, 35..54);
    let first = bytes[one.clone()].to_vec();
    bytes.copy_within(two.clone(), one.start);
    bytes[two].copy_from_slice(&first);
    std::fs::write(&path, &bytes).unwrap();
    assert!(open(dir.path()).unwrap().1.found.is_empty());
}

#[test]
fn a_segment_without_its_whole_head_is_deleted() {
    for length in 0..16 {
        let dir = tempfile::tempdir().unwrap();
        let path = three_records(dir.path());
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let (mut log, mut heard) = open(dir.path()).unwrap();
        assert!(!path.exists() && heard.segments.is_empty());
        assert_eq!(log.bytes(), 0);
        log.append(b"four", &mut heard).unwrap();
    }
}

#[test]
fn another_version_is_refused_and_a_damaged_head_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_records(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    std::fs::write(&path, &bytes).unwrap();
    let (log, heard) = open(dir.path()).unwrap();
    assert_eq!((heard.found.len(), log.metrics.segments_corrupt.get()), (0, 1));
    drop(log);
    let check = xxhash_rust::xxh3::xxh3_64(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&check[..4]);
    std::fs::write(&path, &bytes).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 9, known: crate::traces::codec::VERSION, .. }), "{error:?}");
    assert!(error.to_string().contains("format version 9"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_second_opener_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Locked { .. })));
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn segments_are_divided_and_the_oldest_goes_before_the_cap_is_passed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut heard) = open(dir.path()).unwrap();
    let record = vec![7; log.record_bytes_max() / 3];
    for _ in 0..200 {
        log.append(&record, &mut heard).unwrap();
        let sum: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sum <= crate::traces::BYTES_MAX_MIN, "{sum}");
        assert_eq!(sum, log.bytes());
    }
    assert!(log.bytes() > crate::traces::BYTES_MAX_MIN * 14 / 16);
    assert!(log.segments.iter().all(|segment| segment.bytes <= log.segment_bytes));
    assert_eq!(heard.segments, log.segments.iter().map(|segment| segment.id).collect::<Vec<_>>());
}

#[test]
fn a_lowered_cap_holds_from_the_first_moment() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new(&Registry::default()));
    let settings = Settings { bytes_max: 4 * crate::traces::BYTES_MAX_MIN, ..Settings::new(dir.path()) };
    let mut heard = Heard::default();
    let mut log = Log::open(&settings, Disk::default(), metrics, &mut heard).unwrap();
    let record = vec![7; 100_000];
    for _ in 0..35 {
        log.append(&record, &mut heard).unwrap();
    }
    assert!(log.bytes() > 3 * crate::traces::BYTES_MAX_MIN);
    drop(log);
    let (log, heard) = open(dir.path()).unwrap();
    assert!(log.bytes() <= crate::traces::BYTES_MAX_MIN && log.bytes() > crate::traces::BYTES_MAX_MIN / 2);
    assert!(!heard.found.is_empty());
}

#[test]
fn other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["1.spans", "000000000x.spans", "0000000001.span", "notes.txt"] {
        std::fs::write(dir.path().join(name), "mine").unwrap();
    }
    three_records(dir.path());
    assert_eq!(open(dir.path()).unwrap().1.found.len(), 3);
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
}
