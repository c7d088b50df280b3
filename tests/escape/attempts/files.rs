//! Out of the workspace by way of files.

use crate::attempt::{Attempt, Twin};

const UNTOUCHED: &str = r#"! [ "$(cat outside/file)" = untouched ]"#;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::shell("write through a symbolic link that leaves the workspace", "ln -s $out/file link; echo x > link")
        .seen_by(UNTOUCHED),
    Attempt::shell(
        "read through a symbolic link that leaves the workspace",
        "ln -s $out/secret link; grep -q escape-secret link && echo GOT",
    ),
    Attempt::shell("write through a symbolic link that was there before", "echo x > link")
        .before("ln -s $out/file link")
        .seen_by(UNTOUCHED),
    Attempt::shell(
        "make a hard link to a file outside and read it",
        "ln $out/secret inside && grep -q escape-secret inside && echo GOT",
    ),
    Attempt::shell("make a hard link outside to a file inside", "ln README $out/linked").seen_by("test -e outside/linked"),
    Attempt::python("rename a file out", "allowed(lambda: os.rename('README', f'{out}/moved'))")
        .seen_by("test -e outside/moved"),
    Attempt::python("rename a directory out", "allowed(lambda: os.rename('directory', f'{out}/moved'))")
        .seen_by("test -e outside/moved"),
    Attempt::python("rename a file in", "allowed(lambda: os.rename(f'{out}/file', 'taken'))")
        .seen_by("! test -e outside/file"),
    Attempt::shell("read outside by way of ..", "grep -q escape-secret ../outside/secret && echo GOT"),
    Attempt::shell(
        "read outside by way of /proc/self/root",
        "grep -q escape-secret /proc/self/root$out/secret && echo GOT",
    ),
    Attempt::shell(
        "read outside by way of /proc/self/cwd",
        "grep -q escape-secret /proc/self/cwd/../outside/secret && echo GOT",
    ),
    Attempt::python(
        "read outside by way of the root of init or the reaper",
        "for pid in family():
    if allowed(lambda: open(f'/proc/{pid}/root{out}/secret').read()): got()",
    ),
    Attempt::python(
        "read outside by way of the working directory of init or the reaper",
        "for pid in family():
    if allowed(lambda: os.listdir(f'/proc/{pid}/cwd/')): got()",
    ),
    Attempt::python(
        "read the environment of init or the reaper",
        "for pid in family():
    if allowed(lambda: open(f'/proc/{pid}/environ').read()): got()",
    ),
    Attempt::python(
        "open the memory of init for writing",
        "if allowed(lambda: open(f'/proc/{family()[1]}/mem', 'r+b')): got()",
    ),
    Attempt::python(
        "open the memory of the reaper for writing",
        "if allowed(lambda: open(f'/proc/{family()[0]}/mem', 'r+b')): got()",
    ),
    Attempt::python(
        "find or overwrite the program of init or the reaper",
        "for pid in family():
    try:
        os.open(f'/proc/{pid}/exe', os.O_WRONLY)
        got()
    except OSError as error:
        # Busy: the kernel would have let us, were it not running.
        if error.errno == errno.ETXTBSY: got()",
    ),
    Attempt::python(
        "take a descriptor of init or the reaper by /proc",
        "for pid in family():
    for number in range(64):
        if allowed(lambda: os.readlink(f'/proc/{pid}/fd/{number}')): got()",
    ),
    Attempt::python(
        "find a descriptor that was left open",
        "for number in range(3, 4096):
    if allowed(lambda: os.fstat(number)): got()",
    )
    .twin(Twin::Behind(&["sh", "-c", "exec 9< /etc/passwd; exec \"$@\"", "sh"])),
    Attempt::shell("truncate a file outside", "truncate -s 0 $out/file").seen_by(UNTOUCHED),
    Attempt::shell("remove a file outside", "rm -f $out/file").seen_by("! test -e outside/file"),
    Attempt::shell("make a directory outside", "mkdir $out/made").seen_by("test -e outside/made"),
    Attempt::shell("change the mode of a file outside", "chmod 777 $out/file")
        .seen_by("[ $(stat -c %a outside/file) = 777 ]"),
    Attempt::shell("change the times of a file outside", "touch -d @1 $out/file")
        .seen_by("[ $(stat -c %Y outside/file) = 1 ]"),
    Attempt::python("set an attribute of a file outside", "allowed(lambda: os.setxattr(f'{out}/file', 'user.x', b'x'))")
        .seen_by("/usr/bin/python3 -c 'import os; os.getxattr(\"outside/file\", \"user.x\")'"),
    Attempt::python(
        "set the flags of a file outside",
        "import fcntl
# FS_IOC_GETFLAGS, FS_IOC_SETFLAGS: no dump.
def change():
    file = os.open(f'{out}/file', os.O_RDONLY)
    flags = struct.unpack('l', fcntl.ioctl(file, 0x80086601, bytes(8)))[0]
    fcntl.ioctl(file, 0x40086602, struct.pack('l', flags | 0x40))
if allowed(change): got()",
    )
    .needs("lsattr -d outside"),
    Attempt::python("give a file outside away", "allowed(lambda: os.chown(f'{out}/file', 4321, 4321))")
        .seen_by("[ $(stat -c %u outside/file) = 4321 ]")
        .twin(Twin::Root),
    Attempt::python("see that a file is there outside", "if allowed(lambda: os.stat(f'{out}/file')): got()"),
    Attempt::shell("write to /etc", "echo x > /etc/$tag").seen_by("test -e /etc/$tag").twin(Twin::Root).after("rm -f /etc/$tag"),
    Attempt::shell("write to /usr", "echo x > /usr/bin/$tag")
        .seen_by("test -e /usr/bin/$tag")
        .twin(Twin::Root)
        .after("rm -f /usr/bin/$tag"),
    Attempt::python(
        "read what only root may read of the machine's configuration",
        "import os, stat
for above, _, names in os.walk('/etc'):
    # What others plant meanwhile is theirs.
    for path in (os.path.join(above, name) for name in names if name == tag or not name.startswith('escape-')):
        try:
            facts = os.lstat(path)
            if stat.S_ISREG(facts.st_mode) and facts.st_size and not facts.st_mode & 4:
                open(path, 'rb').read(1)
                got()
        except OSError: pass",
    )
    .twin(Twin::Root)
    .root_before("echo secret > /etc/$tag && chmod 600 /etc/$tag")
    .after("rm -f /etc/$tag"),
    Attempt::python("append to a file in /etc", "if allowed(lambda: open('/etc/passwd', 'a')): got()").twin(Twin::Root),
    Attempt::python(
        "make a device node in the workspace",
        "import stat
try:
    os.mknod('node', stat.S_IFBLK | 0o600, os.stat('/').st_dev)
except OSError:
    pass",
    )
    .seen_by("test -b workspace/node")
    .twin(Twin::Root),
    Attempt::python(
        "make a device node in /tmp and read the memory's",
        "import stat
node = f'/tmp/node-{tag}'
allowed(lambda: os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 11)))
if allowed(lambda: os.close(os.open(node, os.O_RDONLY | os.O_NONBLOCK))): got()
allowed(lambda: os.unlink(node))",
    )
    .twin(Twin::Root),
    Attempt::python(
        "open a device of the machine's",
        "for name in os.listdir('/dev'):
    if not re.match('(mem|kmem|port|kmsg|kvm|fuse|uinput|uhid|vhost-.*|net|nvme.*|vd.*|sd.*|loop.*|dm-.*|hwrng|rtc.*|cpu_dma_latency|autofs|snapshot|btrfs-control|vga_arbiter)$', name): continue
    if allowed(lambda: os.close(os.open(f'/dev/{name}', os.O_RDWR | os.O_NONBLOCK))): got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "open a file by its handle",
        "handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))
mount = ctypes.c_int()
call(SYS.name_to_handle_at, -100, b'.', handle, ctypes.byref(mount), 0)
here = os.open('.', os.O_RDONLY)
if call(SYS.open_by_handle_at, here, handle, os.O_RDONLY)[0] >= 0: got()",
    )
    .twin(Twin::Root),
    Attempt::shell("read a secret in HOME", "cat $home/.ssh/id_ed25519 | grep -q escape-secret && echo GOT"),
    Attempt::python(
        "read any secret in HOME",
        "for root in {home, os.environ.get('HOME', home)}:
    for directory, _, names in os.walk(root):
        for name in names:
            try:
                if 'escape-secret' in open(os.path.join(directory, name)).read(): got()
            except (OSError, UnicodeDecodeError):
                pass",
    ),
    Attempt::python(
        "see that a secret is there in HOME",
        "names = ('.ssh', '.aws', '.gnupg', '.netrc', '.kube', '.docker', '.npmrc', '.pypirc', '.cargo/credentials', '.cargo/credentials.toml',
         '.config/gh', '.bash_history', '.zsh_history')
seen = [name for name in names if allowed(lambda: os.stat(f'{home}/{name}'))]
# Outside all of them are.
if len(seen) == len(names) or seen and not victim: got()",
    ),
    Attempt::python(
        "read a secret where a profile shows HOME",
        "names = ('.ssh/id_ed25519', '.aws/credentials', '.gnupg/private-keys-v1.d/key', '.netrc', '.kube/config', '.docker/config.json', '.npmrc',
         '.pypirc', '.cargo/credentials', '.cargo/credentials.toml', '.config/gh/hosts.yml', '.bash_history', '.zsh_history')
seen = [name for name in names if allowed(lambda: open(f'{home}/{name}').read())]
if len(seen) == len(names) or seen and not victim: got()",
    )
    .words(&["-p", "shown"]),
    Attempt::shell("leave a file in HOME that the host's shell reads", "echo x >> $home/.bashrc; echo x >> ~/.bashrc")
        .seen_by("test -e $home/.bashrc")
        .after("rm -f $home/.bashrc"),
    Attempt::shell(
        "leave a program in HOME that the host finds",
        "mkdir -p $home/.local/bin ~/.local/bin; echo x > $home/.local/bin/git; echo x > ~/.local/bin/git",
    )
    .seen_by("test -e $home/.local/bin/git")
    .after("rm -rf $home/.local"),
    Attempt::shell("poison a cache of the host's", "echo x >> $home/.cargo/registry/index; echo x >> ~/.cargo/registry/index")
        .before("mkdir -p $home/.cargo/registry && echo index > $home/.cargo/registry/index")
        .seen_by("grep -q x $home/.cargo/registry/index && grep -vq index $home/.cargo/registry/index")
        .after("rm -rf $home/.cargo/registry"),
    Attempt::shell("poison npm's cache of the host's", "echo poison >> $home/.npm/_cacache/index; echo poison >> ~/.npm/_cacache/index")
        .before("mkdir -p $home/.npm/_cacache && echo kept > $home/.npm/_cacache/index")
        .seen_by("grep -q poison $home/.npm/_cacache/index")
        .after("rm -rf $home/.npm"),
    Attempt::shell(
        "leave a set-uid program that others can run",
        "cp /usr/bin/id changer; chmod u+s changer; /usr/bin/python3 -c 'import os; os.fchmod(os.open(\"changer\", os.O_RDONLY), 0o4755)'",
    )
    .seen_by("test -u workspace/changer"),
    Attempt::python(
        "leave a set-uid program by making it as one",
        "os.umask(0)
def nameless():
    file = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o4755)
    os.link('/proc/self/fd/%d' % file, 'third', follow_symlinks=True)
allowed(lambda: os.open('changer', os.O_CREAT | os.O_RDWR, 0o4755))
allowed(lambda: os.mknod('other', 0o104755))
allowed(nameless)",
    )
    .seen_by("test -u workspace/changer -o -u workspace/other -o -u workspace/third"),
    Attempt::python(
        "leave a program with a capability",
        "allowed(lambda: os.setxattr('README', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 7, 0, 0, 0)))",
    )
    .seen_by("/usr/bin/python3 -c 'import os; os.getxattr(\"workspace/README\", \"security.capability\")'")
    .twin(Twin::Root),
];
