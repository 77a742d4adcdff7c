"""Machines for tests of ranks: network namespaces with an address and a host name each, joined by a bridge, in namespaces of
the test's own, which end with it whatever happens. As a program, in place of ssh: machines.py HOST COMMAND.
"""

import json
import os
import subprocess
import sys
import time

CONNECT_SECONDS = 30
INSIDE = "IDREC_IN_NAMESPACES"
HOLDERS = "IDREC_MACHINES"  # HOST=PROCESS of each machine
PROBE = """\
ip link add name probe type bridge && ip link add name here type veth peer name there &&
mount -t tmpfs none /mnt && hostname probe
"""


def enter_namespaces():
    """Starts the program anew in namespaces for what it mounts, starts and connects, and ends as it does. Returns "" there,
    and why not where that is not permitted. Whichever of the two is killed, all that runs there ends.
    """
    if INSIDE in os.environ:
        return ""
    why = ""
    for user in ([], ["--user", "--map-root-user"]):
        start = ["unshare", *user, "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        try:
            tried = subprocess.run([*start, "sh", "-c", PROBE], capture_output=True, text=True, timeout=60)
        except OSError as error:
            return str(error)
        if tried.returncode == 0:
            sys.exit(subprocess.run(["setpriv", "--pdeathsig", "KILL", *start, sys.executable, *sys.argv],
                                    env={**os.environ, INSIDE: "1"}).returncode)
        why = tried.stderr.strip()
    return f"no namespaces, neither as root nor as another user: {why}"


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class Machines:
    """Where a test's program itself runs is one more machine, from which jobs are started."""

    SUBNET = "10.7.0.0/24"

    def __init__(self, folder, count):
        self.names = [f"machine{number}" for number in range(count)]
        self.holders = {}
        ip("link", "add", "name", "bridge", "type", "bridge")
        ip("address", "add", "10.7.0.254/24", "dev", "bridge")
        for link in ("bridge", "lo"):
            ip("link", "set", link, "up")
        for number, name in enumerate(self.names):
            self._add(name, f"10.7.0.{number + 1}")
        hosts = folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"10.7.0.{number + 1} {name}\n"
                                                           for number, name in enumerate(self.names)))
        subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
        os.environ[HOLDERS] = " ".join(f"{name}={holder.pid}" for name, holder in self.holders.items())

    def _add(self, name, address):
        live = f"hostname {name} && echo && exec sleep infinity"
        holder = subprocess.Popen(["unshare", "--net", "--uts", "sh", "-c", live], stdout=subprocess.PIPE)
        if holder.stdout.readline() != b"\n":
            sys.exit(f"{name}: no namespace")
        self.holders[name] = holder
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        ip("link", "set", name, "master", "bridge")
        for words in (["address", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                      ["link", "set", "lo", "up"]):
            subprocess.run(self.at(name, ["ip", *words]), check=True)
        self.connect(name)

    def at(self, name, command):
        """The command there."""
        return enter(self.holders[name].pid, command)

    def _port(self, name):
        return json.loads(ip("-details", "-json", "link", "show", name))[0]["linkinfo"]["info_slave_data"]

    def cut_off(self, name):
        """Pulls a machine's cable out."""
        ip("link", "set", name, "down")

    def connect(self, name):
        """Plugs it in, and waits until the bridge passes on what comes by it."""
        ip("link", "set", name, "up")
        deadline = time.monotonic() + CONNECT_SECONDS
        while self._port(name)["state"] != "forwarding":
            if time.monotonic() > deadline:
                sys.exit(f"{name}: no connection after {CONNECT_SECONDS} s")
            time.sleep(0.05)
        # Those who have not been reached are asked for anew.
        for command in (["ip", "neigh", "flush", "all"], self.at(name, ["ip", "neigh", "flush", "all"])):
            subprocess.run(command, check=True, capture_output=True)

    def sent(self):
        """Bytes that each machine has sent so far."""
        links = {link["ifname"]: link for link in json.loads(ip("-statistics", "-json", "link", "show"))}
        return {name: links[name]["stats64"]["rx"]["bytes"] for name in self.names}

    def close(self):
        for holder in self.holders.values():
            holder.kill()
            holder.wait()
            holder.stdout.close()


def enter(process, command):
    return ["nsenter", "--target", str(process), "--net", "--uts", "--", *command]


def main():
    host, *words = sys.argv[1:]
    holders = dict(entry.split("=") for entry in os.environ[HOLDERS].split())
    login = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    os.execvpe("nsenter", enter(holders[host], ["sh", "-c", " ".join(words)]), login)


if __name__ == "__main__":
    main()
