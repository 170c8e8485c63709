package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

// frontDoor is where a person's commands go: the public API of a reader.
type frontDoor struct{ url, tokenFile string }

func (d *frontDoor) addTo(c *cobra.Command, scope string) {
	f := c.PersistentFlags()
	f.StringVar(&d.url, "reader", "", "base `address` of a reader (default: QUIPU_READER, else where the configuration has it)")
	f.StringVar(&d.tokenFile, "token-file", "", "`file` with a bearer token in one line: scope "+scope+" (default: QUIPU_TOKEN)")
}

// open returns the client and the base address.
func (d *frontDoor) open(s *settings, cfg *config.Effective) (client *wire.Client, base string, err error) {
	base = d.url
	if base == "" {
		base = s.environment("QUIPU_READER")
	}
	base = strings.TrimRight(addresses(nonEmpty(base), cfg.Reader.Advertise, cfg.Reader.Listen)[0], "/")
	token := s.environment("QUIPU_TOKEN")
	if d.tokenFile != "" {
		content, err := os.ReadFile(d.tokenFile)
		if err != nil {
			return nil, "", fmt.Errorf("read token: %w", err)
		}
		token = strings.TrimSpace(string(content))
	}
	return wire.NewClient(wire.ClientConfig{Token: token, Timeout: 30 * time.Second, UserAgent: "quipu/" + version}), base, nil
}
