package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/quipudb/quipu/wire"
)

// Hold tells what keeps the log from being trimmed, and how full it is.
func (l *Log) Hold(ctx context.Context) (*wire.LogHold, error) {
	var answer wire.LogHold
	err := l.ask(ctx, wire.PathLogHold, 0, url.Values{}, func(address string) error {
		return l.cfg.Client.JSON(ctx, http.MethodGet, address, nil, &answer)
	})
	if err != nil {
		return nil, fmt.Errorf("ask what the log holds: %w", err)
	}
	return &answer, nil
}

// Archived tells the log that all of a partition below an offset is in cold storage.
func (l *Log) Archived(ctx context.Context, told wire.LogArchived) error {
	err := l.ask(ctx, wire.PathLogHold, told.Partition, url.Values{}, func(address string) error {
		return l.cfg.Client.JSON(ctx, http.MethodPost, address, told, nil)
	})
	if err != nil {
		return fmt.Errorf("tell the log how far partition %d is archived: %w", told.Partition, err)
	}
	return nil
}
