"""Simulators of data sets with known probabilities, one per use case."""

from ml.simulators import hospital, lender, mailbox, shop
from ml.simulators.simulation import Simulation, Simulator

__all__ = ["SIMULATORS", "Simulation", "Simulator"]

SIMULATORS: dict[str, Simulator] = {
    "hospital": hospital.simulate,
    "lender": lender.simulate,
    "mailbox": mailbox.simulate,
    "shop": shop.simulate,
}
