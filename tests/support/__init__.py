"""What tests share: waiting for conditions, and servers of their own."""
