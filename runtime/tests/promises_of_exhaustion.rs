//! When file descriptors run out: a hub works without a poller, and says so where it cannot.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::{FOREVER, SHORT};
use sward::lowlevel::Source;

/// Takes every file descriptor that is left.
fn take_all() -> Vec<File> {
    let limit = rustix::process::Rlimit { current: Some(256), maximum: Some(256) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn a_hub_without_a_poller_sleeps_spawns_and_is_woken_from_outside() {
    const NAME: &str = "a_hub_without_a_poller_sleeps_spawns_and_is_woken_from_outside";
    let output = support::in_child(NAME, || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let taken = take_all();
        assert!(File::open("/dev/null").is_err());
        // The hub is made now, and sleeps without a poller.
        assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
        let begin = std::time::Instant::now();
        sward::sleep(SHORT);
        assert!(begin.elapsed() >= SHORT);
        assert!(sward::timeout(SHORT, || sward::sleep(FOREVER)).is_err());
        assert_eq!(sward::offload(|| 2), 2);
        let handle = sward::handle();
        let remote = std::thread::spawn(move || handle.spawn(|| 3).join().unwrap());
        assert_eq!(sward::offload(|| remote.join().unwrap()), 3);
        // What needs the poller is an error that names the cause.
        let source = Source::new(ours);
        let error = source.read_with("test", None, |mut stream| stream.read(&mut [0; 8])).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        // With room again, the same hub has one.
        drop(taken);
        std::io::Write::write_all(&mut peer, b"x").unwrap();
        sward::sleep(Duration::from_millis(1));
        let limit = Some(std::time::Instant::now() + FOREVER);
        assert_eq!(source.read_with("test", limit, |mut stream| stream.read(&mut [0; 8])).unwrap(), 1);
        assert!(
            source.read_with("test", Some(std::time::Instant::now() + SHORT), |mut s| s.read(&mut [0; 8])).is_err()
        );
    });
    assert!(output.status.success(), "{:#?}", support::stderr_lines(&output));
}
