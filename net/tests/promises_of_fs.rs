//! What `fs` and `io::stdin` promise.

mod support;

use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

use support::{ms, watched};
use sward::fs::{self, DirBuilder, File};
use sward::process::Command;
use sward::timeout;

#[test]
fn files_and_directories_are_std_s() {
    watched(|| {
        let dir = std::env::temp_dir().join(format!("sward-fs-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b"))?;
        let path = dir.join("a/file");
        fs::write(&path, "hello")?;
        assert!(fs::exists(&path)?);
        assert_eq!(fs::read(&path)?, b"hello");
        assert_eq!(fs::metadata(&path)?.len(), 5);
        fs::copy(&path, dir.join("copy"))?;
        fs::rename(dir.join("copy"), dir.join("moved"))?;
        fs::hard_link(dir.join("moved"), dir.join("linked"))?;
        assert_eq!(fs::read_to_string(dir.join("linked"))?, "hello");
        for i in 0..600 {
            std::fs::write(dir.join(format!("a/b/{i}")), "")?;
        }
        assert_eq!(fs::read_dir(dir.join("a/b"))?.collect::<io::Result<Vec<_>>>()?.len(), 600);
        let mut file = File::options().read(true).write(true).open(&path)?;
        let big = vec![9; 1 << 20];
        file.write_all(&big)?;
        file.seek(SeekFrom::Start(10))?;
        let mut back = Vec::new();
        file.read_to_end(&mut back)?;
        assert_eq!(back, big[10..]);
        file.set_len(3)?;
        assert_eq!(file.metadata()?.len(), 3);
        file.sync_all()?;
        assert_eq!(File::create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(File::open(dir.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&dir)?;
        assert!(!fs::exists(&dir)?);
        Ok(())
    });
}

#[test]
fn directories_and_their_entries_are_std_s() {
    watched(|| {
        let dir = std::env::temp_dir().join(format!("sward-dir-{}", std::process::id()));
        assert!(DirBuilder::new().create(dir.join("a")).is_err(), "the parent is not there");
        DirBuilder::new().recursive(true).mode(0o700).create(dir.join("a"))?;
        assert_eq!(fs::metadata(dir.join("a"))?.mode() & 0o777, 0o700);
        fs::write(dir.join("file"), "hello")?;
        fs::symlink("file", dir.join("link"))?;
        fs::chown(dir.join("file"), None, None)?;
        fs::lchown(dir.join("link"), None, None)?;
        let mut entries = fs::read_dir(&dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for (entry, name) in entries.iter().zip(["a", "file", "link"]) {
            let kind = entry.file_type()?;
            assert_eq!(
                (kind.is_dir(), kind.is_file(), kind.is_symlink()),
                (name == "a", name == "file", name == "link")
            );
            let metadata = std::fs::symlink_metadata(dir.join(name))?;
            assert_eq!((entry.file_name(), entry.path()), (name.into(), dir.join(name)));
            assert_eq!((entry.ino(), entry.metadata()?.len()), (metadata.ino(), metadata.len()));
        }
        assert_eq!(entries.len(), 3);
        fs::remove_dir_all(&dir)
    });
}

#[test]
fn a_file_reads_and_writes_several_buffers_and_anywhere() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-file-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        assert_eq!(file.metadata()?.mode() & 0o777, 0o600);
        assert_eq!(file.write_vectored(&[IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")])?, 5);
        file.write_all_at(b"LL", 2)?;
        assert_eq!(file.stream_position()?, 5);
        let mut middle = [0; 3];
        file.read_exact_at(&mut middle, 1)?;
        assert_eq!(&middle, b"eLL");
        assert_eq!(file.read_exact_at(&mut middle, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.rewind()?;
        let (mut a, mut b, mut c) = ([0; 2], [0; 2], [0; 2]);
        let bufs = &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
        assert_eq!(file.read_vectored(bufs)?, 5);
        assert_eq!((&a, &b, &c), (b"he", b"LL", b"o\0"));
        // More than one call moves.
        let big = vec![7; 300 << 10];
        let written = file.write_vectored(&[IoSlice::new(&big), IoSlice::new(&big)])?;
        assert_eq!((written, file.metadata()?.len()), (256 << 10, 5 + (256 << 10)));
        fs::remove_file(path)
    });
}

#[test]
fn a_file_becomes_std_s() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-into-{}", std::process::id()));
        let file = File::create(&path)?;
        assert!(Command::new("echo").arg("hello").stdout(file).status()?.success());
        assert_eq!(fs::read(&path)?, b"hello\n");
        let file: std::fs::File = File::open(&path)?.into();
        assert_eq!(io::read_to_string(file)?, "hello\n");
        fs::remove_file(&path)?;
        // Also while an interrupted call is still being carried out: opening this one's other end ends it.
        assert!(Command::new("mkfifo").arg(&path).status()?.success());
        let mut fifo = File::options().read(true).write(true).open(&path)?;
        assert!(timeout(ms(20), || (&fifo).read(&mut [0; 8])).is_err());
        let mut same = std::fs::File::from(fifo.try_clone()?);
        let fifo_itself: std::fs::File = std::mem::replace(&mut fifo, File::from(same.try_clone()?)).into();
        same.write_all(b"for the call that goes on")?;
        (&fifo_itself).write_all(b"!")?;
        assert!(timeout(Duration::from_secs(10), || fifo.read(&mut [0; 64])).is_ok());
        fs::remove_file(path)
    });
}
