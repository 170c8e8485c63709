package blob

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// address is a parsed Config.URL: a folder, or a bucket.
type address struct {
	dir string

	bucket, prefix, region, endpoint, profile string
}

// CheckURL says whether a text is an address of cold storage, without asking anybody.
func CheckURL(text string) error {
	_, err := parseAddress(text)
	return err
}

func parseAddress(text string) (address, error) {
	if text == "" {
		return address{}, fmt.Errorf("%w: it is empty", ErrAddress)
	}
	if !strings.Contains(text, "://") {
		return folderAddress(text)
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return address{}, fmt.Errorf("%w: %v", ErrAddress, err)
	}
	switch {
	case parsed.User != nil:
		return address{}, fmt.Errorf("%w: credentials do not belong into the address", ErrAddress)
	case parsed.Scheme == "file" && (parsed.Host != "" || parsed.RawQuery != ""):
		return address{}, fmt.Errorf("%w: %s must be file:///path", ErrAddress, text)
	case parsed.Scheme == "file":
		return folderAddress(parsed.Path)
	case parsed.Scheme == "s3":
		return bucketAddress(parsed)
	}
	return address{}, fmt.Errorf("%w: %s is neither a folder nor s3://bucket", ErrAddress, text)
}

func folderAddress(path string) (address, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return address{}, fmt.Errorf("%w: %v", ErrAddress, err)
	}
	return address{dir: dir}, nil
}

func bucketAddress(parsed *url.URL) (address, error) {
	a := address{bucket: parsed.Host}
	if a.bucket == "" || strings.Trim(parsed.Path, "/") != "" {
		return address{}, fmt.Errorf("%w: %s must be s3://bucket?prefix=…", ErrAddress, parsed)
	}
	query := parsed.Query()
	for name, values := range query {
		if !slices.Contains([]string{"region", "prefix", "endpoint", "profile"}, name) || len(values) != 1 {
			return address{}, fmt.Errorf("%w: parameter %s of %s (known, once each: endpoint, prefix, profile, region)", ErrAddress, name, parsed)
		}
	}
	a.region, a.endpoint, a.profile = query.Get("region"), query.Get("endpoint"), query.Get("profile")
	if prefix := strings.Trim(query.Get("prefix"), "/"); prefix != "" {
		if err := CheckName(prefix); err != nil {
			return address{}, fmt.Errorf("%w: prefix: %v", ErrAddress, err)
		}
		a.prefix = prefix + "/"
	}
	if a.endpoint != "" {
		endpoint, err := url.Parse(a.endpoint)
		if err != nil || (endpoint.Scheme != "http" && endpoint.Scheme != "https") || endpoint.Host == "" || endpoint.User != nil {
			return address{}, fmt.Errorf("%w: endpoint %q must be http://host:port or https://host", ErrAddress, a.endpoint)
		}
	}
	return a, nil
}

func (a address) String() string {
	if a.dir != "" {
		return a.dir
	}
	return "s3://" + a.bucket + "/" + a.prefix
}
