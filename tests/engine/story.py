"""A night told in short sentences, and what the models of `sql/` make of it."""

from pathlib import Path

from pipeline.lake.store import Lake
from pipeline.schemas import lake
from pipeline.schemas.journeys.lake import Recipients
from tests.engine.world import DAY, FIRST_DAY, HOUR, Night, build_read_by, connect, day_number, dimensions, engine

SUBSCRIBERS = 40
SECOND = 1_000_000
START = day_number(FIRST_DAY) * DAY + 9 * HOUR


class Story(Night):
    """A night told in short sentences."""

    def sent(self, who: int, campaign_id: str = "campaign-campaign", at_us: int = START, **more: object) -> None:
        told = {"sent_at_source": "feed", "status": "sent", **more}
        self.add(lake.Sends, campaign_id=campaign_id, subscriber_key=who, sent_us=at_us, **told)

    def did(self, who: int, action: str, at_us: int, campaign_id: str = "campaign-campaign", **more: object) -> None:
        told = {"url": "" if action != "click" else "https://example.org/a", "is_image_proxy": False, "is_bot": False}
        self.add(lake.EmailActivity, campaign_id=campaign_id, subscriber_key=who, action=action, occurred_us=at_us,
                 **{**told, "ip_key": who, **more})  # fmt: skip

    def listed(self, who: int, campaign_id: str, feed_state: str) -> None:
        self.add(Recipients, campaign_id=campaign_id, subscriber_key=who, feed_state=feed_state, feed_us=None,
                 status="sent", audience_id="a")  # fmt: skip

    def happened(self, who: int, event_type: str, at_us: int, **more: object) -> None:
        self.add(lake.Events, event_id=f"{who}-{event_type}-{at_us}-{more}", occurred_us=at_us, event_type=event_type,
                 subscriber_key=who, properties="{}", **more)  # fmt: skip

    def entered(self, who: int, step_id: str, at_us: int, **more: object) -> None:
        self.happened(who, "step_entered", at_us, workflow_id="flow", step_id=step_id, **more)

    def answer(self, tmp_path: Path, sql: str) -> list[tuple]:
        self.write(Lake(tmp_path))
        connection = connect(dimensions(SUBSCRIBERS))
        build_read_by(sql, engine(connection, tmp_path))
        return connection.execute(sql).fetchall()
