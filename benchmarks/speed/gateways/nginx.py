"""nginx as a plain reverse proxy: the outer limit of anything between two sockets."""

from __future__ import annotations

import re
import shutil
import subprocess

from benchmarks.speed.gateways.port import Behind, Gateway, Launched, NotInstalled, Site

CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream server {{
    server 127.0.0.1:{upstream};
    keepalive 256;
    keepalive_requests 10000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


class Nginx(Gateway):
    """One worker, connections to the server kept alive, responses not buffered."""

    name = "nginx"
    about = "a plain reverse proxy in C, one worker: the outer limit"

    def install(self) -> None:
        """It comes from the system's packages, not from here."""
        self.version()

    def version(self) -> str:
        """What the binary says of itself."""
        said = subprocess.run([self._binary(), "-v"], capture_output=True, text=True, check=True).stderr
        found = re.search(r"nginx/(\S+)", said)
        return found[1] if found else said.strip()

    def cannot(self, behind: Behind) -> str | None:
        """It knows HTTP and nothing of MCP."""
        if behind.transport == "stdio":
            return "HTTP proxy: cannot start a stdio server"
        return "measured for the gateway alone" if behind.special else None

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Write a configuration and start it."""
        path = site.folder / "nginx.conf"
        path.write_text(CONFIG.format(folder=site.folder, upstream=site.upstream_port, port=site.port))
        process = site.start([self._binary(), "-c", path, "-p", site.folder, "-e", "stderr"])
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)

    def _binary(self) -> str:
        found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin") or shutil.which(
            "nginx"
        )
        if found is None:
            raise NotInstalled("nginx is not installed: apt-get install nginx-light")
        return found
