//! Python, node and the JVM: environments, test runners, workers, and the memory and semaphores that they share.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use dunlin_harness::{Running, World, require, skip};

use super::{check, found, inside, worlds};

/// Fixed, so that a release of tomorrow changes nothing here.
const PYTEST: &[&str] = &["pytest==8.3.5", "pluggy==1.5.0", "iniconfig==2.0.0", "packaging==24.2"];

/// pytest for any interpreter, installed once for the target directory.
fn pytest() -> Result<PathBuf, String> {
    let site = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pytest-8.3.5");
    if site.is_dir() {
        return Ok(site);
    }
    let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let mut pip = Command::new("/usr/bin/python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(fresh.path()).args(PYTEST);
    let done = pip.output().map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(format!("pip installs no pytest: {}", String::from_utf8_lossy(&done.stderr).trim()));
    }
    // Another test may have put it there meanwhile.
    let _ = std::fs::rename(fresh.path(), &site);
    Ok(site)
}

fn with_environment(world: &World, line: &str) -> dunlin_harness::Finished {
    let venv = world.workspace().join(".venv");
    let mut command = world.client(&["run", "--", "sh", "-c", line]);
    command.env("VIRTUAL_ENV", &venv).env("PATH", format!("{}:/usr/bin:/bin", venv.join("bin").display()));
    Running::start(command).finish()
}

#[test]
fn pytest_runs_in_an_environment_that_was_made_outside() {
    require!("python3", Path::new("/usr/bin/python3").exists(), "python3 is not installed");
    let site = match pytest() {
        Ok(site) => site,
        Err(why) => return skip("pytest", &why),
    };
    for world in worlds() {
        world.finish("/usr/bin/python3", &["-m", "venv", "--without-pip", ".venv"]).expect(0);
        let copy = format!("umask 022; cp -r {}/. .venv/lib/python3*/site-packages/", site.display());
        let mut readable = Command::new("sh");
        readable.args(["-c", &copy]).current_dir(world.workspace());
        assert!(readable.status().expect("sh runs").success());
        world.write(
            &world.workspace().join("test_it.py"),
            "import sys, subprocess\n\
             def test_env(): assert sys.prefix.endswith('.venv')\n\
             def test_tmp(tmp_path): (tmp_path / 'x').write_text('y')\n\
             def test_child(): assert subprocess.check_output(['echo', 'hi']) == b'hi\\n'\n",
        );
        let done = with_environment(&world, "python -m pytest -q").expect(0);
        assert!(done.out().contains("3 passed"), "{}", done.out());
        // And one made inside.
        check(
            &world,
            "/usr/bin/python3 -m venv --without-pip made && made/bin/python -c 'import sys; print(sys.prefix)'",
            "/made",
        );
    }
}

#[test]
fn uv_runs_a_script_in_its_own_environment() {
    let uv = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|entry| entry.join("uv"))
        .find(|uv| uv.is_file());
    let Some(uv) = uv else { return skip("uv", "uv is not installed") };
    for world in worlds() {
        let tools = world.home().join("tools/bin");
        world.write(&tools.join("note"), "");
        std::fs::copy(&uv, tools.join("uv")).expect("a copy");
        let path = format!("{}:/usr/bin:/bin", tools.display());
        let line = "uv venv -q --offline --python /usr/bin/python3 && uv run --offline --no-project python -c 'print(6 * 7)'";
        let mut command = world.client(&["run", "--", "sh", "-c", line]);
        command.env("PATH", &path);
        let done = Running::start(command).finish().expect(0);
        assert_eq!(done.out(), "42\n", "{}", done.err());
    }
}

#[test]
fn python_has_the_semaphores_and_the_shared_memory_that_it_forks_with() {
    require!("python3", Path::new("/usr/bin/python3").exists(), "python3 is not installed");
    const CODE: &str = "
import multiprocessing as m
from multiprocessing import shared_memory
from concurrent.futures import ProcessPoolExecutor
if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        with m.get_context(method).Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
    block = shared_memory.SharedMemory(create=True, size=1 << 20)
    block.buf[0] = 7
    block.close(); block.unlink()
    with m.Manager() as manager: assert manager.dict(a=1)['a'] == 1
    with ProcessPoolExecutor(2) as pool: assert list(pool.map(abs, [-3])) == [3]
    lock = m.Lock()
    with lock: print('shared')
";
    for world in worlds() {
        world.write(&world.workspace().join("pool.py"), CODE);
        check(&world, "/usr/bin/python3 pool.py", "shared\n");
    }
}

#[test]
fn node_runs_scripts_workers_and_children_and_goes_without_io_uring() {
    require!("node", found("node") && found("npm"), "node or npm is not installed for everybody");
    for world in worlds() {
        let package = r#"{"name": "tiny", "version": "1.0.0", "scripts": {"test": "node --test", "hello": "echo hello from npm"}}"#;
        world.write(&world.workspace().join("package.json"), package);
        world.write(
            &world.workspace().join("tiny.test.js"),
            "const { test } = require('node:test');
const { Worker } = require('node:worker_threads');
const { execSync } = require('node:child_process');
const fs = require('node:fs');
test('worker', () => new Promise((ok, no) =>
  new Worker('require(\"worker_threads\").parentPort.postMessage(1)', { eval: true }).on('message', ok).on('error', no)));
test('child', () => { if (String(execSync('echo hi')) !== 'hi\\n') throw new Error(); });
test('files', async () => { await fs.promises.writeFile('made', 'x'); await fs.promises.readFile('made'); });
",
        );
        check(&world, "npm run --silent hello", "hello from npm");
        check(&world, "npm test", "# pass 3");
        check(
            &world,
            "UV_USE_IO_URING=1 node -e 'require(\"fs\").readFile(\"made\", (e, d) => console.log(String(d)))'",
            "x",
        );
        check(&world, "npm ls && npm pack --dry-run 2>&1", "tiny-1.0.0.tgz");
        // Without a network the failure says what is missing, and comes at once.
        let install = inside(&world, "npm install --no-audit is-number 2>&1");
        assert!(install.code() != 0 && install.out().contains("EAI_AGAIN"), "{}", install.out());
    }
}

#[test]
fn the_jvm_compiles_and_runs() {
    require!("java", found("java") && found("javac"), "no JDK is installed");
    for world in worlds() {
        let code = "class A { public static void main(String[] a) throws Exception {
            var f = java.nio.file.Files.createTempFile(\"a\", \"b\");
            System.out.println(Runtime.getRuntime().availableProcessors() > 0 && f.toFile().exists()); } }";
        world.write(&world.workspace().join("A.java"), code);
        check(&world, "javac A.java && java A", "true\n");
    }
}
