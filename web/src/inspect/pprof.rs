//! For pprof: profiles of what greenlets wait in, and of where the time goes.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, Write};
use std::panic::Location;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use sward_runtime::inspect::{Call, HubInfo, Stack, State, hubs, profile, resolve};
use sward_runtime::{join_all, spawn};

use super::elsewhere;
use super::look::{PATIENCE, place};
use super::proto::{self, Profile, ValueType};

/// Time between two looks at the hubs.
const PERIOD: Duration = Duration::from_millis(10);

/// What greenlets have in common that are one sample.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// Their hub.
    hub: u64,
    /// Where they were spawned.
    spawned_at: Option<&'static Location<'static>>,
    /// What they wait for.
    waits_for: Option<&'static str>,
    /// What stands for their calls if there are none.
    instead: &'static str,
    /// Their calls.
    stack: Stack,
}

/// The calls of all parked greenlets, counted. Blocks the greenlet.
pub(super) fn greenlets() -> Bytes {
    // All hubs at once: each looks at some greenlets at a time.
    let counts = hubs(PATIENCE).into_iter().map(|hub| spawn(move || count(&hub)));
    // What panics there has been reported.
    let counts = join_all(counts.collect::<Vec<_>>()).into_iter().flatten().flatten();
    let samples = counts.map(|(key, count)| (key, vec![count])).collect();
    pack(&[("greenlets", "count")], samples, |_| ())
}

/// The calls of a hub's parked greenlets, counted.
fn count(hub: &HubInfo) -> HashMap<Key, i64> {
    let mut counts = HashMap::new();
    for trace in hub.traces(PATIENCE).filter(|trace| trace.greenlet.state == State::Parked) {
        let (spawned_at, waits_for) = (trace.greenlet.spawned_at, trace.greenlet.waits_for);
        let key = Key { hub: hub.id, spawned_at, waits_for, instead: "[little stack left]", stack: trace.stack };
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// Where the threads of all hubs are at work, for a time of that length. Blocks the greenlet.
///
/// # Errors
///
/// Somebody else is at it.
pub(super) fn time(length: Duration) -> io::Result<Bytes> {
    let samples = profile(length, PERIOD)?.into_iter().map(|sample| {
        let (hub, spawned_at, stack) = (sample.hub, sample.spawned_at, sample.stack);
        let count = sample.count as i64;
        let key = Key { hub, spawned_at, waits_for: None, instead: "[hub, between greenlets]", stack };
        (key, vec![count, count.saturating_mul(PERIOD.as_nanos() as i64)])
    });
    Ok(pack(&[("samples", "count"), ("cpu", "nanoseconds")], samples.collect(), move |made| {
        made.duration_nanos = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        made.period_type = made.sample_type.last().cloned();
        made.period = PERIOD.as_nanos() as i64;
    }))
}

/// A profile as it is sent: samples with values of these types and units, and what `finish` adds. Blocks the greenlet.
fn pack(
    types: &'static [(&str, &str)],
    samples: Vec<(Key, Vec<i64>)>,
    finish: impl FnOnce(&mut Profile) + Send + 'static,
) -> Bytes {
    let calls = resolve(samples.iter().map(|(key, _)| key.stack.clone()).collect());
    elsewhere(move || {
        let mut builder = Builder::new(types);
        samples.into_iter().zip(calls).for_each(|((key, value), calls)| builder.add(&key, value, calls));
        let mut made = builder.profile;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        made.time_nanos = i64::try_from(now.as_nanos()).unwrap_or_default();
        finish(&mut made);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to a vector cannot fail.
        let _ = gzip.write_all(&made.encode_to_vec());
        gzip.finish().unwrap_or_default().into()
    })
}

/// Makes a profile.
struct Builder {
    /// What is made.
    profile: Profile,
    /// Where strings are in the table.
    strings: HashMap<String, i64>,
    /// The numbers of functions, by name and file.
    functions: HashMap<(i64, i64), u64>,
    /// The numbers of calls.
    locations: HashMap<Call, u64>,
    /// The numbers of what stands for calls.
    instead: HashMap<&'static str, u64>,
}

impl Builder {
    /// One whose samples have values of these types and units.
    fn new(types: &[(&str, &str)]) -> Builder {
        let (strings, functions) = (HashMap::new(), HashMap::new());
        let (locations, instead) = (HashMap::new(), HashMap::new());
        let mut builder = Builder { profile: Profile::default(), strings, functions, locations, instead };
        builder.string("");
        for (kind, unit) in types {
            let value = ValueType { kind: builder.string(kind), unit: builder.string(unit) };
            builder.profile.sample_type.push(value);
        }
        let program = std::env::current_exe().unwrap_or_default();
        let filename = builder.string(&program.to_string_lossy());
        let (has_functions, has_filenames, has_line_numbers, has_inline_frames) = (true, true, true, true);
        let mapping =
            proto::Mapping { id: 1, filename, has_functions, has_filenames, has_line_numbers, has_inline_frames };
        builder.profile.mapping.push(mapping);
        builder
    }

    /// Adds a sample with its values.
    fn add(&mut self, key: &Key, value: Vec<i64>, calls: Vec<Call>) {
        let mut location_id: Vec<_> = calls.into_iter().map(|call| self.location(call)).collect();
        if location_id.is_empty() {
            location_id.push(self.stand_in(key.instead));
        }
        let (hub, site) = (key.hub.to_string(), key.spawned_at.map(place));
        let labels = [("hub", Some(&*hub)), ("spawned_at", site.as_deref()), ("waits_for", key.waits_for)];
        let label = |(name, value): (&str, Option<&str>)| {
            Some(proto::Label { key: self.string(name), str: self.string(value?) })
        };
        let label = labels.into_iter().filter_map(label).collect();
        self.profile.sample.push(proto::Sample { location_id, value, label });
    }

    /// The number of a call.
    fn location(&mut self, call: Call) -> u64 {
        if let Some(id) = self.locations.get(&call) {
            return *id;
        }
        let mut line: Vec<_> = Vec::new();
        for function in &call.functions {
            let place = function.place.as_ref();
            let file = place.map(|(file, _)| file.to_string_lossy()).unwrap_or_default();
            let function_id = self.function(&function.name, &file);
            line.push(proto::Line { function_id, line: place.map_or(0, |(_, line)| (*line).into()) });
        }
        let id = self.push(call.address as u64, line);
        self.locations.insert(call, id);
        id
    }

    /// The number of what stands for calls.
    fn stand_in(&mut self, name: &'static str) -> u64 {
        if let Some(id) = self.instead.get(name) {
            return *id;
        }
        let line = vec![proto::Line { function_id: self.function(name, ""), line: 0 }];
        let id = self.push(0, line);
        self.instead.insert(name, id);
        id
    }

    /// A new call.
    fn push(&mut self, address: u64, line: Vec<proto::Line>) -> u64 {
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(proto::Location { id, mapping_id: 1, address, line });
        id
    }

    /// The number of a function.
    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.string(name), self.string(file));
        let functions = &mut self.profile.function;
        *self.functions.entry((name, filename)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            functions.push(proto::Function { id, name, system_name: name, filename });
            id
        })
    }

    /// Where a string is.
    fn string(&mut self, text: &str) -> i64 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let index = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hint::black_box;
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use flate2::read::GzDecoder;
    use sward_runtime::{sleep, yield_now};

    use super::*;

    /// A profile as its reader sees it.
    struct Reader(Profile);

    impl Reader {
        /// Unpacks it; and everything in it refers to something that is there.
        fn of(packed: &Bytes) -> Reader {
            let mut bytes = Vec::new();
            GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            let made = Profile::decode(&bytes[..]).unwrap();
            assert_eq!(made.string_table[0], "");
            let functions: HashSet<_> = made.function.iter().map(|function| function.id).collect();
            let locations: HashSet<_> = made.location.iter().map(|location| location.id).collect();
            assert!(functions.len() == made.function.len() && locations.len() == made.location.len());
            assert!(!functions.contains(&0) && !locations.contains(&0));
            let mut lines = made.location.iter().flat_map(|location| &location.line);
            assert!(lines.all(|line| functions.contains(&line.function_id)));
            for sample in &made.sample {
                assert_eq!(sample.value.len(), made.sample_type.len());
                assert!(!sample.location_id.is_empty());
                assert!(sample.location_id.iter().all(|id| locations.contains(id)));
            }
            assert!(made.time_nanos > 0);
            Reader(made)
        }

        fn string(&self, index: i64) -> &str {
            &self.0.string_table[index as usize]
        }

        /// The first value of all samples with a function whose name contains this, and their labels.
        fn count(&self, name: &str) -> (i64, Vec<(&str, &str)>) {
            let is_named = |id: &u64| {
                let location = self.0.location.iter().find(|location| location.id == *id).unwrap();
                let ids = location.line.iter().map(|line| line.function_id);
                let functions = ids.map(|id| self.0.function.iter().find(|function| function.id == id).unwrap());
                functions.into_iter().any(|function| self.string(function.name).contains(name))
            };
            let samples = self.0.sample.iter().filter(|sample| sample.location_id.iter().any(is_named));
            let labels = samples.clone().flat_map(|sample| &sample.label);
            let labels = labels.map(|label| (self.string(label.key), self.string(label.str)));
            (samples.map(|sample| sample.value[0]).sum(), labels.collect())
        }
    }

    #[inline(never)]
    fn wait_here() {
        sleep(Duration::from_secs(3600));
        black_box(());
    }

    #[test]
    fn greenlets_that_wait_in_one_place_are_one_sample() {
        let greenlets: Vec<_> = (0..100).map(|_| spawn(wait_here)).collect();
        yield_now();
        let reader = Reader::of(&super::greenlets());
        let (count, labels) = reader.count("wait_here");
        assert_eq!(count, 100);
        assert_eq!(labels.len(), 3, "{labels:?}");
        assert!(labels.contains(&("waits_for", "sleep")), "{labels:?}");
        let site = labels.iter().find(|(key, _)| *key == "spawned_at").unwrap();
        assert!(site.1.contains("pprof.rs:"), "{site:?}");
        let kinds: Vec<_> =
            reader.0.sample_type.iter().map(|kind| (reader.string(kind.kind), reader.string(kind.unit))).collect();
        assert_eq!(kinds, [("greenlets", "count")]);
        greenlets.iter().for_each(|g| g.kill());
    }

    #[inline(never)]
    fn compute(over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            black_box(());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn where_the_time_goes_is_found() {
        let over = Arc::new(AtomicBool::new(false));
        let theirs = over.clone();
        let busy = std::thread::spawn(move || spawn(move || compute(&theirs)).join().unwrap());
        // A loaded machine may let it have its turn late.
        let made = std::iter::repeat_with(|| time(Duration::from_millis(300)).unwrap());
        let reader = made.map(|made| Reader::of(&made)).find(|reader| reader.count("compute").0 >= 5).unwrap();
        over.store(true, Ordering::Relaxed);
        busy.join().unwrap();
        let (count, labels) = reader.count("compute");
        assert!(count <= 40, "{count} in 300 ms");
        assert!(labels.iter().any(|(key, site)| *key == "spawned_at" && site.contains("pprof.rs:")), "{labels:?}");
        let Profile { duration_nanos, period, period_type, sample, .. } = &reader.0;
        assert_eq!((*duration_nanos, *period), (300_000_000, 10_000_000));
        let kind = period_type.as_ref().map(|kind| (reader.string(kind.kind), reader.string(kind.unit)));
        assert_eq!(kind, Some(("cpu", "nanoseconds")));
        assert!(sample.iter().all(|sample| sample.value[1] == sample.value[0] * period));
    }
}
