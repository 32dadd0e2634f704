//! What `process` promises.

mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use support::{ms, watched};
use sward::process::{Command, Stdio};
use sward::{scope, sleep, spawn, timeout};

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_collects_both_pipes_however_much_comes() {
    watched(|| {
        let script = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 7";
        let output = sh(script).output()?;
        assert_eq!((output.stdout.len(), output.stderr.len(), output.status.code()), (300_000, 600_000, Some(7)));
        let mut command = sh("cat; echo done");
        assert_eq!(command.output()?.stdout, b"done\n"); // stdin is empty
        assert_eq!(command.stdout(Stdio::null()).output()?.stdout, b"");
        Ok(())
    });
}

#[test]
fn no_handler_for_sigchld_is_installed() {
    watched(|| {
        let mut child = sh("exit 3").spawn()?;
        assert_eq!(child.wait_timeout(Duration::from_secs(20))?.and_then(|status| status.code()), Some(3));
        assert_eq!(sh("echo hi").output()?.stdout, b"hi\n");
        let status = std::fs::read_to_string("/proc/self/status")?;
        for kind in ["SigCgt", "SigIgn", "SigBlk"] {
            let mask = status.lines().find_map(|line| line.strip_prefix(&format!("{kind}:\t"))).expect(kind);
            let mask = u64::from_str_radix(mask, 16).unwrap();
            assert_eq!(mask & 1 << (sward::signal::SIGCHLD - 1), 0, "{kind} is {mask:x}");
        }
        Ok(())
    });
}

#[test]
fn children_run_at_the_same_time() {
    watched(|| {
        let start = Instant::now();
        let children: Vec<_> = (0..20).map(|_| spawn(|| Command::new("sleep").arg("0.3").status())).collect();
        for child in children {
            assert!(child.join().unwrap()?.success());
        }
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        Ok(())
    });
}

#[test]
fn a_conversation_with_a_child() {
    watched(|| {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for i in 0..100 {
            writeln!(input, "line {i}")?;
            assert_eq!(lines.next().unwrap()?, format!("line {i}"));
        }
        // More than a pipe holds: both directions at once.
        let writer = spawn(move || input.write_all(&vec![b'x'; 1 << 20]));
        let mut rest = Vec::new();
        lines.next().into_iter().for_each(|line| rest.extend(line.unwrap().into_bytes()));
        assert_eq!(rest.len(), 1 << 20);
        writer.join().unwrap()?;
        assert!(child.wait()?.success());
        assert!(child.wait()?.success()); // again
        child.kill()?; // nothing to kill
        Ok(())
    });
}

#[test]
fn a_pipeline_of_children() {
    watched(|| {
        let mut one = sh("seq 1 1000").stdout(Stdio::piped()).spawn()?;
        let mut two = sh("grep 7").stdin(one.stdout.take().unwrap()).stdout(Stdio::piped()).spawn()?;
        let three = sh("wc -l").stdin(two.stdout.take().unwrap()).stdout(Stdio::piped()).spawn()?;
        let output = three.wait_with_output()?;
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "271");
        assert!(one.wait()?.success() && two.wait()?.success());
        Ok(())
    });
}

#[test]
fn a_wait_can_be_limited_and_interrupted() {
    watched(|| {
        let mut child = Command::new("sleep").arg("1000").spawn()?;
        let start = Instant::now();
        assert_eq!(child.wait_timeout(ms(20))?, None);
        assert!(start.elapsed() >= ms(20) && start.elapsed() < ms(2000));
        assert!(timeout(ms(5), || child.wait()).is_err());
        assert_eq!(child.try_wait()?, None);
        scope(|s| {
            let waiter = s.spawn(|| child.wait_timeout(Duration::MAX));
            sleep(ms(1));
            assert!(!waiter.is_finished());
            waiter.kill();
            assert!(waiter.join().unwrap_err().is_killed());
        });
        child.kill()?;
        assert!(!child.wait()?.success());
        Ok(())
    });
}

#[test]
fn errors_and_settings_are_std_s() {
    watched(|| {
        assert_eq!(Command::new("no-such-program").spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut command = sh("echo $A$B; pwd; echo $0");
        command.env("A", "1").envs([("B", "2")]).env_remove("C").current_dir("/").arg("name");
        assert_eq!(command.get_program(), "sh");
        assert_eq!(command.get_args().count(), 3);
        assert_eq!(command.output()?.stdout, b"12\n/\nname\n");
        assert!(format!("{command:?}").contains("sh"));
        let std = std::process::Command::new("true");
        assert!(Command::from(std).status()?.success());
        let mut text = String::new();
        let mut child = sh("echo hi >&2").stderr(Stdio::piped()).spawn()?;
        child.stderr.take().unwrap().read_to_string(&mut text)?;
        assert_eq!(text, "hi\n");
        assert!(child.wait()?.success());
        Ok(())
    });
}
