package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const nginxConfig = `worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx-error.log warn;
daemon off;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[1]s/nginx-body;
	proxy_temp_path %[1]s/nginx-proxy;
	fastcgi_temp_path %[1]s/nginx-fastcgi;
	uwsgi_temp_path %[1]s/nginx-uwsgi;
	scgi_temp_path %[1]s/nginx-scgi;
	keepalive_requests 1000000;
	upstream vllm { least_conn; %[2]skeepalive 256; keepalive_requests 1000000; }
	server {
		listen %[3]s;
		location / {
			proxy_pass http://vllm;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_buffering off;
			client_max_body_size 64m;
			client_body_buffer_size 1m; # the temporary files belong to another user
		}
	}
}
`

// startNginx runs nginx as people have it before vLLM: upstream keepalive, no
// buffering.
func (b *bench) startNginx(ctx context.Context, upstreams ...*process) (*process, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, fmt.Errorf("looking for nginx (apt-get install nginx-light): %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	var servers strings.Builder
	for _, u := range upstreams {
		fmt.Fprintf(&servers, "server %s; ", u.addr)
	}
	config := filepath.Join(b.dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, b.dir, servers.String(), addr), 0o600); err != nil {
		return nil, fmt.Errorf("writing nginx's configuration: %w", err)
	}
	return b.start(ctx, "nginx", addr, "/health", path, "-p", b.dir, "-c", config)
}
