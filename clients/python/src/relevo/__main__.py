"""`python -m relevo tail`: print channels as they come."""

from .tail import main

raise SystemExit(main())
