package blob

import (
	"fmt"
	"strings"
)

const maxName = 512

// CheckName says whether a text can name an object: parts of letters, digits, '-', '_', '.', '=' and '+', divided by slashes; none begins with
// a point. So a name means the same in a folder, in a bucket and in a pattern of another program.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: it has %d bytes, not 1 to %d", ErrName, len(name), maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' {
			return fmt.Errorf("%w: %q", ErrName, name)
		}
		for _, c := range []byte(part) {
			if !plain(c) {
				return fmt.Errorf("%w: %q", ErrName, name)
			}
		}
	}
	return nil
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.=+", c) >= 0
}
