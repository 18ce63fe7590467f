package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Names of options in a URL.
const (
	optionSentinelMaster   = "sentinel_master"
	optionSentinelUsername = "sentinel_username"
	optionSentinelPassword = "sentinel_password"
	optionCA               = "ca_file"
	optionCert             = "cert_file"
	optionKey              = "key_file"
	optionServerName       = "server_name"
	optionInsecure         = "insecure"
)

var (
	options = []string{
		optionSentinelMaster, optionSentinelUsername, optionSentinelPassword,
		optionCA, optionCert, optionKey, optionServerName, optionInsecure,
	}
	optionsOfTLS = []string{optionCA, optionCert, optionKey, optionServerName, optionInsecure}
)

// defaultPort is of Redis servers, defaultSentinelPort of sentinels.
const (
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
)

// ParseURL reads a server from a URL:
//
//	redis://[[user]:password@]host[:port][,host[:port]…][/database][?option=value&…]
//
// rediss:// is Redis over TLS; valkey:// and valkeys:// are the same. Several
// hosts are nodes of a cluster. Special characters in the user name and the
// password are percent-encoded. Options:
//
//	sentinel_master    the hosts are sentinels, and this is their name for the server
//	sentinel_username  user name for the sentinels
//	sentinel_password  password for the sentinels
//	ca_file            PEM file of the authorities to trust, instead of the system's (TLS)
//	cert_file          PEM file of a client certificate (TLS)
//	key_file           PEM file of its key (TLS)
//	server_name        the name that the certificate is for, instead of the host (TLS)
//	insecure           true: any certificate is believed (TLS)
//
// Errors never have a part of the password in them.
func ParseURL(raw string) (Server, error) {
	s, err := parseURL(strings.TrimSpace(raw))
	if err != nil {
		return Server{}, fmt.Errorf("reading Redis URL: %w", err)
	}
	return s, nil
}

// errEncoding reports a URL in which the end of the password is ambiguous, so that no part
// of it may be shown.
var errEncoding = errors.New("special characters in user name, password and options must be percent-encoded, as %40 for @ and %2F for /")

// parseURL does not use url.Parse, which refuses lists of hosts and shows all
// it was given in its errors.
func parseURL(raw string) (Server, error) {
	var s Server
	scheme, rest, found := strings.Cut(raw, "://")
	switch {
	case !found:
		return s, errors.New("it must begin with redis:// or rediss://")
	case scheme == "redis", scheme == "valkey":
	case scheme == "rediss", scheme == "valkeys":
		s.TLS = new(TLS)
	default:
		return s, errors.New("it must begin with redis:// or rediss://, no other scheme is known")
	}
	authority, path, query := cutURL(rest)
	if strings.ContainsRune(path, '@') || strings.ContainsRune(query, '@') {
		return s, errEncoding // a / or ? in the password was parsed as the end of the hosts
	}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := s.parseUser(authority[:at]); err != nil {
			return s, err
		}
		hosts = authority[at+1:]
	}
	if path = strings.TrimPrefix(path, "/"); path != "" {
		n, err := strconv.Atoi(path)
		if err != nil {
			return s, errors.New("the path after the host must be the number of a database, as in /0")
		}
		s.Database = n
	}
	if err := s.parseOptions(query); err != nil {
		return s, err
	}
	s.parseHosts(hosts)
	return s, s.check()
}

// cutURL splits a URL without its scheme into its parts.
func cutURL(rest string) (authority, path, query string) {
	rest, query, _ = strings.Cut(rest, "?")
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		return rest[:slash], rest[slash:], query
	}
	return rest, "", query
}

func (s *Server) parseUser(text string) error {
	user, password, _ := strings.Cut(text, ":")
	for _, part := range []struct {
		into *string
		text string
	}{{&s.Username, user}, {&s.Password, password}} {
		plain, err := url.PathUnescape(part.text)
		if err != nil {
			return errEncoding // without err, which has a piece of it
		}
		*part.into = plain
	}
	return nil
}

func (s *Server) parseHosts(hosts string) {
	port := defaultPort
	if s.SentinelMaster != "" {
		port = defaultSentinelPort
	}
	for host := range strings.SplitSeq(hosts, ",") {
		bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if !strings.Contains(host, ":") || strings.HasSuffix(host, "]") {
			host = net.JoinHostPort(bare, port)
		}
		s.Addresses = append(s.Addresses, host)
	}
}

func (s *Server) parseOptions(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the options after the ? are malformed")
	}
	for name, all := range values {
		if !slices.Contains(options, name) {
			return fmt.Errorf("unknown option %q; there are %s", name, strings.Join(options, ", "))
		}
		if len(all) != 1 {
			return fmt.Errorf("option %q is given twice", name)
		}
		if s.TLS == nil && slices.Contains(optionsOfTLS, name) {
			return fmt.Errorf("option %q is for rediss:// only", name)
		}
	}
	s.SentinelMaster = values.Get(optionSentinelMaster)
	s.SentinelUsername = values.Get(optionSentinelUsername)
	s.SentinelPassword = values.Get(optionSentinelPassword)
	if s.SentinelMaster == "" && (s.SentinelUsername != "" || s.SentinelPassword != "") {
		return fmt.Errorf("options for sentinels need %s", optionSentinelMaster)
	}
	if s.TLS == nil {
		return nil
	}
	s.TLS.CAFile, s.TLS.ServerName = values.Get(optionCA), values.Get(optionServerName)
	s.TLS.CertFile, s.TLS.KeyFile = values.Get(optionCert), values.Get(optionKey)
	if text := values.Get(optionInsecure); text != "" {
		if s.TLS.Insecure, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("option %q is true or false", optionInsecure)
		}
	}
	return nil
}
