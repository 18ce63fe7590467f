package images

import (
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/pgtest"
	"github.com/tidegate/tidegate/internal/redistest"
)

// host runs services of the compose file as processes. Only names of services and paths of
// the image are replaced.
type host struct {
	binary  string
	project *types.Project
	redis   *redistest.Server
	files   string            // the volume that gateways share
	reached map[string]string // host:port in the compose file, and here
}

func newHost(t *testing.T, binary string) *host {
	t.Helper()
	postgres := pgtest.Start(t)
	postgres.Exec(t, "postgres", "CREATE DATABASE tidegate")
	h := &host{binary: binary, project: loadWith(t, cli.WithProfiles([]string{"sim"}), cli.WithEnv([]string{"SIM_MODEL=" + tidegatetest.Model})), redis: redistest.Start(t), files: t.TempDir()}
	h.reached = map[string]string{"postgres:5432": postgres.Addr(), "valkey:6379": h.redis.Addr}
	for name := range h.reached {
		service, _, _ := strings.Cut(name, ":")
		if _, err := h.project.GetService(service); err != nil {
			t.Error(err)
		}
	}
	return h
}

// start starts a container of a service and waits until its health check passes.
func (h *host) start(t *testing.T, service string) *tidegatetest.Gateway {
	t.Helper()
	s, err := h.project.GetService(service)
	if err != nil {
		t.Fatal(err)
	}
	image := readImage(t)
	if s.Build == nil || s.Build.Dockerfile != "xcaddy.Dockerfile" || image.entrypoint != "/usr/bin/tidegate" {
		t.Fatalf("%s runs another program", service)
	}
	command, check := image.command, image.health
	if s.Command != nil {
		command = s.Command
	}
	if s.HealthCheck != nil {
		check = s.HealthCheck.Test[1:]
	}
	url := regexp.MustCompile(`^http://127\.0\.0\.1(:\d+)/health$`).FindStringSubmatch(check[len(check)-1])
	if url == nil || strings.Join(check[:len(check)-1], " ") != "wget -q -O /dev/null" {
		t.Fatalf("%s is checked by %q", service, check)
	}
	addr, data := tidegatetest.FreeAddr(t), t.TempDir()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	replace := []string{
		"/etc/tidegate", tidegatetest.Root(t), "/srv/tidegate/files", h.files, "/srv/tidegate", data,
		"0.0.0.0" + url[1], addr,
	}
	for name, here := range h.reached {
		replace = append(replace, name, here)
	}
	here := strings.NewReplacer(replace...)
	env := map[string]string{"TIDEGATE_ADMIN": tidegatetest.FreeAddr(t)} // a container has separate ports
	maps.Copy(env, image.env)
	for name, value := range s.Environment {
		env[name] = *value
	}
	if env["TIDEGATE_LISTEN"] == url[1] && env["TIDEGATE_BIND"] == "0.0.0.0" {
		env["TIDEGATE_LISTEN"], env["TIDEGATE_BIND"] = ":"+port, "127.0.0.1"
	}
	var pairs []string
	for name, value := range env {
		pairs = append(pairs, name+"="+here.Replace(value))
	}
	argv := []string{h.binary}
	for _, arg := range command {
		argv = append(argv, here.Replace(arg))
	}
	started := tidegatetest.Start(t, "http://"+addr, "http://"+addr+"/health", pairs, argv...)
	if n := s.Networks["default"]; n != nil {
		for _, alias := range n.Aliases {
			h.reached[alias+url[1]] = addr
		}
	}
	return started
}

// image is the container configuration in the Dockerfile.
type image struct {
	entrypoint      string
	command, health []string
	env             map[string]string
}

func readImage(t *testing.T) image {
	t.Helper()
	lines := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(read(t, "xcaddy.Dockerfile"), "")
	find := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(lines)
		if found == nil {
			t.Fatalf("the Dockerfile has no %s", pattern)
		}
		return found[1]
	}
	i := image{entrypoint: find(`(?m)^ENTRYPOINT \["(\S+)"\]$`), env: map[string]string{}}
	i.command = strings.Split(find(`(?m)^CMD \["(.*)"\]$`), `", "`)
	i.health = strings.Fields(find(`(?m)^HEALTHCHECK .*CMD (wget .*)$`))
	for pair := range strings.FieldsSeq(find(`(?m)^ENV (.*)$`)) {
		name, value, _ := strings.Cut(pair, "=")
		i.env[name] = value
	}
	if !filepath.IsAbs(i.env["TIDEGATE_DATA"]) {
		t.Errorf("data lie in %s", i.env["TIDEGATE_DATA"])
	}
	return i
}
